//! A process that outlives a killed test just long enough to stop the server that the test started.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Starts the server and waits for one line on its standard input. The end of the input means that the test process is
/// gone, however it went: then the server is killed and its directory removed. `gone` means that the server has ended or is
/// about to, and that the directory is to stay.
///
/// `$1` is the signal that ends the server, `$2` its pid file, `$3` the directory to remove, `$4` the log; the rest is the
/// command. A stopped process takes no other signal than KILL, hence CONT.
const SCRIPT: &str = r#"
ending=$1 pidfile=$2 root=$3 log=$4
shift 4
"$@" >>"$log" 2>&1 </dev/null &
server=$!
word=
read -r word
if [ "$word" != gone ]; then
    pid=$(head -n 1 "$pidfile" 2>/dev/null)
    kill -$ending ${pid:-$server} 2>/dev/null
    kill -CONT ${pid:-$server} 2>/dev/null
    tries=0
    [ $ending = KILL ] && tries=50
    while kill -0 ${pid:-$server} 2>/dev/null && [ $tries -lt 50 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    kill -KILL ${pid:-$server} $server 2>/dev/null
fi
wait $server
[ "$word" = gone ] || rm -rf "$root"
"#;

/// Watches over one server process; dropping it kills the server and removes its directory.
#[derive(Debug)]
pub(crate) struct Guardian(Child);

impl Guardian {
    /// Starts `command` under watch, in a process group of its own so that a Ctrl-C reaches the test only. `ending` is the
    /// signal that the server gets first when it has to go; KILL follows five seconds later.
    pub(crate) fn start(ending: &str, pid_file: &Path, root: &Path, log: &Path, command: &[String]) -> Self {
        let child = Command::new("sh")
            .args(["-c", SCRIPT, "guardian", ending])
            .args([pid_file, root, log])
            .args(command)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell to start the server under");
        Self(child)
    }

    /// Whether the server has ended, as far as the guardian's own end tells.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits for the end of a server that has been told to stop; its directory stays.
    pub(crate) fn wait_for_end(mut self) {
        if let Some(mut stdin) = self.0.stdin.take() {
            let _ = stdin.write_all(b"gone\n");
        }
        let _ = self.0.wait();
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Sends a signal to processes; those that are gone already do not matter.
pub(crate) fn signal(name: &str, pids: &[u32]) {
    let _ = Command::new("sh")
        .args(["-c", "kill -s \"$@\"", "kill", name])
        .args(pids.iter().map(u32::to_string))
        .stderr(Stdio::null())
        .status();
}

/// Returns a process's children.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    processes("ppid=")
        .into_iter()
        .filter(|(_, its_parent)| its_parent.parse() == Ok(parent))
        .map(|(pid, _)| pid)
        .collect()
}

/// Whether one of some processes still has what it had: one that was killed while it waits for a disk does, until the disk
/// has answered.
pub(crate) fn any_lives(pids: &[u32]) -> bool {
    dead(pids).len() < pids.len()
}

/// Those of some processes that are gone, or only wait to be asked how they ended.
pub(crate) fn dead(pids: &[u32]) -> Vec<u32> {
    let states = processes("stat=");
    let lives = |pid: &u32| states.iter().any(|(other, state)| other == pid && !state.starts_with('Z'));
    pids.iter().copied().filter(|pid| !lives(pid)).collect()
}

/// Every process, with something that `ps` tells of it.
fn processes(what: &str) -> Vec<(u32, String)> {
    let Ok(output) = Command::new("ps").args(["-A", "-o", "pid=", "-o", what]).output() else {
        return Vec::new();
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let (pid, told) = line.trim().split_once(char::is_whitespace)?;
            Some((pid.parse().ok()?, told.trim().to_owned()))
        })
        .collect()
}
