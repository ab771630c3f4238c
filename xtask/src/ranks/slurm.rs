//! Slurm with two nodes, both this machine.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::Bench;
use crate::shell;
use crate::workspace::create_folder;

/// Time for the daemons to find each other.
const UP: Duration = Duration::from_mins(1);

/// Runs under Slurm: as its script says, without `srun`, in an array, and with a rank killed.
pub(super) fn check(bench: &Bench) -> Result<()> {
    shell::step("starting Slurm with two nodes");
    let slurm = Slurm::start(bench)?;
    shell::step("two ranks, by the script of `prony launch slurm`");
    let mut launch = bench.command("prony");
    let script = launch
        .args(["launch", "slurm", "pipeline.yaml", "--ranks", "2"])
        .output()?;
    ensure!(
        script.status.success(),
        "{}",
        String::from_utf8_lossy(&script.stderr)
    );
    fs::write(bench.folder.join("launched.sbatch"), script.stdout)?;
    let ended = slurm
        .command(bench, "sbatch")
        .args(["--wait", "launched.sbatch"])
        .output()?;
    let run = bench.checked("results", &ended, 2)?;
    ensure!(run.failed.is_empty(), "{:?}", run.failed);

    shell::step("four ranks, cyclic over two nodes");
    let mut cyclic = slurm.command(bench, "srun");
    cyclic.args([
        "-N2",
        "-n4",
        "--distribution=cyclic",
        "prony",
        "run",
        "pipeline.yaml",
    ]);
    let ended = cyclic.args(["--results", "cyclic"]).output()?;
    bench.checked("cyclic", &ended, 4)?;

    shell::step("a batch script without srun");
    let batch = "#!/bin/bash\n#SBATCH -N2 --ntasks=4\nprony run pipeline.yaml --results batch\n";
    fs::write(bench.folder.join("alone.sbatch"), batch)?;
    let ended = slurm
        .command(bench, "sbatch")
        .args(["--wait", "alone.sbatch"])
        .output()?;
    bench.checked("batch", &ended, 1)?;

    shell::step("two parts, by an array");
    let array =
        "#!/bin/bash\n#SBATCH --array=1-2%1\nprony run pipeline.yaml --part auto --results array\n";
    fs::write(bench.folder.join("array.sbatch"), array)?;
    let ended = slurm
        .command(bench, "sbatch")
        .args(["--wait", "array.sbatch"])
        .output()?;
    super::merged(bench, "array", &ended)?;

    shell::step("a rank is killed");
    let mut killed = slurm.command(bench, "srun");
    killed.args(["-N2", "-n3", "sh", "-c", KILLED]);
    let ended = killed.output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(!ended.status.success(), "it ended well:\n{said}");
    ensure!(
        said.contains("rank 2 of ") && said.contains(" is lost"),
        "{said}"
    );
    let run = bench.run("killed")?;
    ensure!(
        run.failed.iter().any(|it| it.contains("is lost")),
        "{:?}",
        run.failed
    );
    Ok(())
}

/// Rank 2 is killed while the others send.
const KILLED: &str = r#"
if [ "$SLURM_PROCID" = 2 ]; then
    prony run pipeline.yaml --results killed --set stages.2.measure.requests=6000 &
    sleep 6
    kill -KILL $!
    wait
    exit 1
fi
exec prony run pipeline.yaml --results killed --set stages.2.measure.requests=6000
"#;

/// The daemons, which end with this.
struct Slurm {
    folder: PathBuf,
    daemons: Vec<Child>,
}

impl Drop for Slurm {
    fn drop(&mut self) {
        // The controller last, which the others would miss.
        for daemon in self.daemons.iter_mut().rev() {
            let _ = Command::new("kill").arg(daemon.id().to_string()).status();
            let _ = daemon.wait();
        }
    }
}

impl Slurm {
    fn start(bench: &Bench) -> Result<Self> {
        let folder = bench.folder.join("slurm");
        for name in ["munge", "state", "spooln1", "spooln2", "log"] {
            create_folder(&folder.join(name))?;
        }
        let host = String::from_utf8(shell::output(Command::new("uname").arg("-n"))?)?;
        let host = host.trim();
        let [controller, first, second] = ports()?;
        let work = folder.to_string_lossy().into_owned();
        let settings = CONF
            .replace("WORK", &work)
            .replace("HOST", host)
            .replace("CONTROLLER", &controller.to_string())
            .replace("FIRST", &first.to_string())
            .replace("SECOND", &second.to_string());
        fs::write(folder.join("slurm.conf"), settings)?;
        fs::write(
            folder.join("hosts"),
            format!("127.0.0.1 localhost n1 n2 {host}\n"),
        )?;
        let mut key = [0; 1024];
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        let munge = folder.join("munge");
        fs::write(munge.join("key"), key)?;
        fs::set_permissions(munge.join("key"), fs::Permissions::from_mode(0o600))?;
        fs::set_permissions(&munge, fs::Permissions::from_mode(0o711))?;
        let mut slurm = Self {
            folder,
            daemons: Vec::new(),
        };
        let path = |name: &str| munge.join(name).to_string_lossy().into_owned();
        let mut munged = Command::new("munged");
        munged.args(["--foreground", "--force"]).args([
            format!("--key-file={}", path("key")),
            format!("--socket={}", path("sock")),
            format!("--pid-file={}", path("pid")),
            format!("--log-file={}", path("log")),
            format!("--seed-file={}", path("seed")),
        ]);
        slurm.spawn("munged", munged)?;
        slurm.until("munged", || munge.join("sock").exists())?;
        let mut controller = Command::new("slurmctld");
        controller.arg("-D").arg("-f").arg(slurm.conf());
        slurm.spawn("slurmctld", controller)?;
        for node in ["n1", "n2"] {
            // Each node finds the other by its name, in a file of hosts of its own.
            let mut daemon = Command::new("unshare");
            daemon.args([
                "--mount",
                "sh",
                "-c",
                "mount --bind \"$1\" /etc/hosts && exec slurmd -D -f \"$2\" -N \"$3\"",
                "sh",
            ]);
            daemon
                .arg(slurm.folder.join("hosts"))
                .arg(slurm.conf())
                .arg(node);
            slurm.spawn(node, daemon)?;
        }
        slurm.until("both nodes", || {
            let mut idle = Command::new("sinfo");
            let idle = idle
                .args(["-h", "-t", "idle", "-o", "%D"])
                .env("SLURM_CONF", slurm.conf());
            idle.output().is_ok_and(|it| it.stdout == b"2\n")
        })?;
        Ok(slurm)
    }

    fn conf(&self) -> PathBuf {
        self.folder.join("slurm.conf")
    }

    /// A command that uses this Slurm.
    fn command(&self, bench: &Bench, program: &str) -> Command {
        let mut command = bench.command(program);
        command.env("SLURM_CONF", self.conf());
        command
    }

    fn spawn(&mut self, name: &str, mut command: Command) -> Result<()> {
        let log = File::create(self.folder.join(format!("{name}.log")))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{name} did not start"))?;
        self.daemons.push(child);
        Ok(())
    }

    fn until(&self, what: &str, is_up: impl Fn() -> bool) -> Result<()> {
        let begin = Instant::now();
        while !is_up() {
            let folder = self.folder.display();
            ensure!(
                begin.elapsed() < UP,
                "{what}: not up after {UP:?}; logs are in {folder}"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}

/// Ports that nobody listens at.
fn ports() -> Result<[u16; 3]> {
    let listeners = [0; 3].map(|_: u8| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        let listener = listener
            .as_ref()
            .map_err(|error| anyhow::anyhow!("no port: {error}"))?;
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

const CONF: &str = "\
ClusterName=prony
SlurmctldHost=HOST(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=WORK/munge/sock
StateSaveLocation=WORK/state
SlurmdSpoolDir=WORK/spool%n
SlurmctldPidFile=WORK/ctld.pid
SlurmdPidFile=WORK/slurmd-%n.pid
SlurmctldLogFile=WORK/log/ctld
SlurmdLogFile=WORK/log/slurmd-%n
SlurmctldPort=CONTROLLER
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
ReturnToService=2
SlurmdTimeout=30
NodeName=n1 NodeHostname=HOST NodeAddr=127.0.0.1 Port=FIRST CPUs=2 State=UNKNOWN
NodeName=n2 NodeHostname=HOST NodeAddr=127.0.0.1 Port=SECOND CPUs=2 State=UNKNOWN
PartitionName=p Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES
";
