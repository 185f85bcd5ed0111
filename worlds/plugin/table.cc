// A world plugin for Gazebo Classic 11 that plays the world in lockstep.
//
// Whoever started gzserver holds the other end of a socket, EFM_GAZEBO_SOCKET (a file descriptor), and writes
// one command a line; each gets one line back, "ok ..." or "error ...":
//
//   hello                                     -> ok VERSION STEP_S
//   seed NUMBER                               -> ok
//   place LINK x y z qw qx qy qz              -> ok; the link is there, at rest
//   paint VISUAL red green blue               -> ok; from the next frame on
//   move STEPS [JOINT from to]...             -> ok; so many physics steps, the joints go along straight lines
//   joints                                    -> ok TIME_S [JOINT position]...
//   where LINK                                -> ok x y z qw qx qy qz
//   frame CAMERA                              -> ok WIDTH HEIGHT BYTES, then that many bytes: RGB, of this moment
//
// Nothing moves and no time passes between two commands. When the other end is closed, the server ends.
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <iomanip>
#include <map>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gazebo/common/Events.hh>
#include <gazebo/common/Plugin.hh>
#include <gazebo/physics/physics.hh>
#include <gazebo/rendering/Camera.hh>
#include <gazebo/rendering/RenderingIface.hh>
#include <gazebo/rendering/Scene.hh>
#include <gazebo/rendering/Visual.hh>
#include <ignition/math/Rand.hh>

namespace efm
{
using Pose = ignition::math::Pose3d;

// A joint on its way: at `from` before the first step of a move, at `to` after the last.
struct Course
{
  gazebo::physics::JointPtr joint;
  double from, to;
};

class Table : public gazebo::WorldPlugin
{
public:
  void Load(gazebo::physics::WorldPtr world, sdf::ElementPtr sdf) override
  {
    const char *number = std::getenv("EFM_GAZEBO_SOCKET");
    if (!number)
      throw std::runtime_error("EFM_GAZEBO_SOCKET: expected a file descriptor, got nothing");
    this->socket = std::atoi(number);
    this->world = world;
    this->gain = sdf->Get<double>("gain", 50.0).first;
    this->on_step = gazebo::event::Events::ConnectWorldUpdateBegin(
        [this](const gazebo::common::UpdateInfo &) { this->BeforeStep(); });
    this->on_render = gazebo::event::Events::ConnectPreRender([this] { this->Draw(); });
  }

private:
  // In the thread of the physics: either there are steps to make, or somebody says what to do.
  void BeforeStep()
  {
    if (!this->IsDrawable())
    {
      // The scene is built while the world runs, by a thread that needs the processor.
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      return;
    }
    while (this->left == 0)
      this->Answer(this->ReadLine());
    const double step = this->world->Physics()->GetMaxStepSize();
    for (const auto &course : this->courses)
    {
      const double change = (course.to - course.from) / this->steps;
      const double now = course.from + change * (this->steps - this->left);
      course.joint->SetParam("fmax", 0, course.joint->GetEffortLimit(0));
      course.joint->SetParam("vel", 0, change / step + this->gain * (now - course.joint->Position(0)));
    }
    this->left -= 1;
    this->is_owed = this->left == 0;
  }

  void Answer(const std::string &line)
  {
    std::istringstream in(line);
    std::ostringstream out;
    out << std::setprecision(17);
    std::string verb, bytes;
    in >> verb;
    try
    {
      if (verb == "hello")
        out << GAZEBO_VERSION_FULL << ' ' << this->world->Physics()->GetMaxStepSize();
      else if (verb == "seed")
        this->Seed(Read<unsigned>(in));
      else if (verb == "place")
        this->Place(in);
      else if (verb == "paint")
        this->Paint(in);
      else if (verb == "move")
        return this->Move(in);  // answered when the steps are made
      else if (verb == "joints")
        this->Joints(out);
      else if (verb == "where")
        Write(out, this->Link(Read<std::string>(in))->WorldPose());
      else if (verb == "frame")
        bytes = this->Frame(Read<std::string>(in), out);
      else
        throw std::runtime_error("verb: expected one of this plugin's, got '" + verb + "'");
    }
    catch (const std::exception &error)
    {
      return this->Send("error " + std::string(error.what()) + '\n');
    }
    this->Send("ok " + out.str() + '\n' + bytes);
  }

  void Seed(unsigned seed)
  {
    ignition::math::Rand::Seed(seed);
    this->world->Physics()->SetSeed(seed);
    this->world->ResetPhysicsStates();
  }

  void Place(std::istream &in)
  {
    const auto link = this->Link(Read<std::string>(in));
    const auto x = Read<double>(in), y = Read<double>(in), z = Read<double>(in);
    const auto qw = Read<double>(in), qx = Read<double>(in), qy = Read<double>(in), qz = Read<double>(in);
    link->SetWorldPose(Pose(x, y, z, qw, qx, qy, qz), true, false);
    link->ResetPhysicsStates();
  }

  void Paint(std::istream &in)
  {
    const auto name = Read<std::string>(in);
    const auto red = Read<double>(in), green = Read<double>(in), blue = Read<double>(in);
    this->paints[name] = ignition::math::Color(red, green, blue);
  }

  void Move(std::istream &in)
  {
    const auto count = Read<int>(in);
    if (count < 1)
      throw std::runtime_error("move: expected at least 1 step");
    std::vector<Course> found;
    for (std::string name; in >> name;)
    {
      const auto joint = this->Joint(name);
      const auto from = Read<double>(in), to = Read<double>(in);
      found.push_back({joint, from, to});
    }
    this->courses = found;
    this->left = this->steps = count;
  }

  void Joints(std::ostream &out) const
  {
    out << this->world->SimTime().Double();
    for (const auto &model : this->world->Models())
      for (const auto &joint : model->GetJoints())
        if (joint->DOF() > 0)
          out << ' ' << joint->GetScopedName() << ' ' << joint->Position(0);
  }

  // The physics waits here while the thread that owns OpenGL draws.
  std::string Frame(const std::string &name, std::ostream &out)
  {
    std::unique_lock<std::mutex> lock(this->mutex);
    this->wanted = name;
    this->drawn.wait(lock, [this] { return this->wanted.empty(); });
    if (!this->complaint.empty())
      throw std::runtime_error(this->complaint);
    out << this->width << ' ' << this->height << ' ' << this->pixels.size();
    return this->pixels;
  }

  // In the thread of OpenGL.
  void Draw()
  {
    std::lock_guard<std::mutex> lock(this->mutex);
    if (this->wanted.empty())
      return;
    this->complaint.clear();
    try
    {
      this->DrawNow(this->wanted);
    }
    catch (const std::exception &error)
    {
      this->complaint = error.what();
    }
    this->wanted.clear();
    this->drawn.notify_all();
  }

  void DrawNow(const std::string &name)
  {
    const auto scene = gazebo::rendering::get_scene();
    const auto camera = Camera(*scene, name);
    for (const auto &model : this->world->Models())
      for (const auto &link : model->GetLinks())
        if (const auto visual = scene->GetVisual(link->GetScopedName()))
          visual->SetWorldPose(link->WorldPose());
    for (const auto &paint : this->paints)
    {
      const auto visual = scene->GetVisual(paint.first);
      if (!visual)
        throw std::runtime_error("visual: expected one of the world's, got '" + paint.first + "'");
      visual->SetAmbient(paint.second);
      visual->SetDiffuse(paint.second);
    }
    this->paints.clear();
    camera->SetCaptureData(true);
    camera->Render(true);
    camera->PostRender();
    this->width = camera->ImageWidth();
    this->height = camera->ImageHeight();
    this->pixels.assign(reinterpret_cast<const char *>(camera->ImageData(0)), camera->ImageByteSize());
  }

  // Its full name ends with the sensor's.
  static gazebo::rendering::CameraPtr Camera(const gazebo::rendering::Scene &scene, const std::string &name)
  {
    std::string known;
    for (unsigned index = 0; index < scene.CameraCount(); ++index)
    {
      const auto camera = scene.GetCamera(index);
      const auto full = "::" + camera->Name();
      const auto end = "::" + name;
      if (full.size() >= end.size() && full.compare(full.size() - end.size(), end.size(), end) == 0)
        return camera;
      known += ' ' + camera->Name();
    }
    throw std::runtime_error("camera: expected one of" + known + ", got '" + name + "'");
  }

  // Every link has its picture, and the cameras are there.
  bool IsDrawable()
  {
    if (this->is_drawable)
      return true;
    const auto scene = gazebo::rendering::get_scene();
    if (!scene || !scene->Initialized() || scene->CameraCount() == 0)
      return false;
    for (const auto &model : this->world->Models())
      for (const auto &link : model->GetLinks())
        if (!scene->GetVisual(link->GetScopedName()))
          return false;
    return this->is_drawable = true;
  }

  gazebo::physics::LinkPtr Link(const std::string &name) const
  {
    const auto link = boost::dynamic_pointer_cast<gazebo::physics::Link>(this->world->EntityByName(name));
    if (!link)
      throw std::runtime_error("link: expected one of the world's, got '" + name + "'");
    return link;
  }

  gazebo::physics::JointPtr Joint(const std::string &name) const
  {
    for (const auto &model : this->world->Models())
      for (const auto &joint : model->GetJoints())
        if (joint->GetScopedName() == name)
          return joint;
    throw std::runtime_error("joint: expected one of the world's, got '" + name + "'");
  }

  template <typename Value>
  static Value Read(std::istream &in)
  {
    Value value;
    if (!(in >> value))
      throw std::runtime_error("expected another word or number");
    return value;
  }

  static void Write(std::ostream &out, const Pose &pose)
  {
    out << pose.Pos().X() << ' ' << pose.Pos().Y() << ' ' << pose.Pos().Z() << ' ' << pose.Rot().W() << ' '
        << pose.Rot().X() << ' ' << pose.Rot().Y() << ' ' << pose.Rot().Z();
  }

  std::string ReadLine()
  {
    if (this->is_owed)
      this->Send("ok \n");
    this->is_owed = false;
    for (;;)
    {
      const auto end = this->heard.find('\n');
      if (end != std::string::npos)
      {
        const auto line = this->heard.substr(0, end);
        this->heard.erase(0, end + 1);
        return line;
      }
      char buffer[65536];
      const auto count = ::read(this->socket, buffer, sizeof(buffer));
      if (count <= 0)
        ::_exit(0);
      this->heard.append(buffer, count);
    }
  }

  void Send(const std::string &text) const
  {
    for (size_t sent = 0; sent < text.size();)
    {
      const auto count = ::write(this->socket, text.data() + sent, text.size() - sent);
      if (count <= 0)
        ::_exit(0);
      sent += count;
    }
  }

  int socket = -1;
  double gain = 0;  // of a joint's error on its velocity [1/s]
  gazebo::physics::WorldPtr world;
  gazebo::event::ConnectionPtr on_step, on_render;
  bool is_drawable = false;
  bool is_owed = false;  // the answer to `move`
  int steps = 0, left = 0;
  std::vector<Course> courses;
  std::string heard;
  std::map<std::string, ignition::math::Color> paints;
  std::mutex mutex;  // of all below
  std::condition_variable drawn;
  std::string wanted, pixels, complaint;
  unsigned width = 0, height = 0;
};

GZ_REGISTER_WORLD_PLUGIN(Table)
}  // namespace efm
