// A world plugin for Gazebo Classic 11 that simulates the world in lockstep.
//
// EFM_GAZEBO_SOCKET is the file descriptor of a socket. The process that started gzserver holds the other end and
// writes one command a line. The plugin replies to each with one line, "ok ..." or "error ...":
//
//   hello                                     -> ok VERSION STEP_S
//   seed NUMBER                               -> ok
//   place LINK x y z qw qx qy qz              -> ok; the link has this pose, at rest
//   paint VISUAL red green blue               -> ok; from the next frame on
//   move STEPS [JOINT from to]...             -> ok after the physics steps; the joints move linearly
//   joints                                    -> ok TIME_S [JOINT position]...
//   where LINK                                -> ok x y z qw qx qy qz
//   frame CAMERA                              -> ok WIDTH HEIGHT BYTES, then BYTES bytes: RGB of the present state
//
// Simulated time stands still between two commands. The server ends when the other end is closed.
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

// The path of a joint: at `from` before the first step of a move, at `to` after the last.
struct JointPath
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
  // In the physics thread: reply to commands until one of them requests steps.
  void BeforeStep()
  {
    if (!this->IsDrawable())
    {
      // Another thread builds the scene while the world runs, and it needs processor time.
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      return;
    }
    while (this->left == 0)
      this->Execute(this->ReadLine());
    const double step = this->world->Physics()->GetMaxStepSize();
    for (const auto &path : this->paths)
    {
      const double change = (path.to - path.from) / this->steps;
      const double now = path.from + change * (this->steps - this->left);
      path.joint->SetParam("fmax", 0, path.joint->GetEffortLimit(0));
      path.joint->SetParam("vel", 0, change / step + this->gain * (now - path.joint->Position(0)));
    }
    this->left -= 1;
    this->is_reply_due = this->left == 0;
  }

  void Execute(const std::string &line)
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
        return this->Move(in);  // the reply follows after the steps
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
    std::vector<JointPath> found;
    for (std::string name; in >> name;)
    {
      const auto joint = this->Joint(name);
      const auto from = Read<double>(in), to = Read<double>(in);
      found.push_back({joint, from, to});
    }
    this->paths = found;
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

  // The physics thread waits here while the OpenGL thread renders.
  std::string Frame(const std::string &name, std::ostream &out)
  {
    std::unique_lock<std::mutex> lock(this->mutex);
    this->wanted = name;
    this->drawn.wait(lock, [this] { return this->wanted.empty(); });
    if (!this->draw_error.empty())
      throw std::runtime_error(this->draw_error);
    out << this->width << ' ' << this->height << ' ' << this->pixels.size();
    return this->pixels;
  }

  // In the OpenGL thread.
  void Draw()
  {
    std::lock_guard<std::mutex> lock(this->mutex);
    if (this->wanted.empty())
      return;
    this->draw_error.clear();
    try
    {
      this->DrawNow(this->wanted);
    }
    catch (const std::exception &error)
    {
      this->draw_error = error.what();
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

  // The full name of a camera ends with the name of its sensor.
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

  // Whether every link has its visual, and the cameras exist.
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
    if (this->is_reply_due)
      this->Send("ok \n");
    this->is_reply_due = false;
    for (;;)
    {
      const auto end = this->received.find('\n');
      if (end != std::string::npos)
      {
        const auto line = this->received.substr(0, end);
        this->received.erase(0, end + 1);
        return line;
      }
      char buffer[65536];
      const auto count = ::read(this->socket, buffer, sizeof(buffer));
      if (count <= 0)
        ::_exit(0);
      this->received.append(buffer, count);
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
  double gain = 0;  // from a joint's position error to its velocity [1/s]
  gazebo::physics::WorldPtr world;
  gazebo::event::ConnectionPtr on_step, on_render;
  bool is_drawable = false;
  bool is_reply_due = false;  // of `move`
  int steps = 0, left = 0;
  std::vector<JointPath> paths;
  std::string received;
  std::map<std::string, ignition::math::Color> paints;
  std::mutex mutex;  // guards all members below
  std::condition_variable drawn;
  std::string wanted, pixels, draw_error;
  unsigned width = 0, height = 0;
};

GZ_REGISTER_WORLD_PLUGIN(Table)
}  // namespace efm
