//! The program itself: a short scenario over real processes, and what it says when it cannot begin.

use std::{
    collections::BTreeSet,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// Far longer than all scenarios take in brief on a busy machine.
const LIMIT: Duration = Duration::from_mins(20);

/// Ends the program when the test does, and with it everything that it started.
struct Running(Option<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn run(arguments: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_larder-chaos"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program to start");
    let (mut output, mut errors) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
    let mut running = Running(Some(child));
    let (done, finished) = mpsc::channel();
    thread::spawn(move || {
        let mut read = (Vec::new(), Vec::new());
        let _ = std::io::Read::read_to_end(&mut output, &mut read.0);
        let _ = std::io::Read::read_to_end(&mut errors, &mut read.1);
        let _ = done.send(read);
    });
    let (stdout, stderr) = finished.recv_timeout(LIMIT).expect("the program ends in time");
    let status = running.0.take().expect("the child").wait().expect("its status");
    Output { status, stdout, stderr }
}

#[test]
fn a_short_scenario_holds() {
    let output = run(&["--only", "smoke"]);
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains(" 0 wrong") && text.contains("held smoke"), "{text}");
}

/// Plays every row of the table of faults, as briefly as it can be played and as many at once as there are test threads: nothing wrong
/// is read, and no call fails that must not. How fast anything is belongs to the long form.
macro_rules! in_brief {
    ($($name:ident)+) => {
        const IN_BRIEF: &[&str] = &[$(stringify!($name)),+];

        mod in_brief {
            $(
                #[test]
                fn $name() {
                    super::holds_in_brief(stringify!($name));
                }
            )+
        }
    };
}

in_brief! {
    calm messages redis_troubles replays only_replays redis_restarts redis_paused partitions psql open_transaction
    stampede hanging_database poison postgres base_backup lives replica_paused replicas_killed rolling_restart aborted_writers clocks late_fills same_snapshot watch tokens
}

fn holds_in_brief(name: &str) {
    let output = run(&["--brief", "--only", &name.replace('_', "-")]);
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{errors}");
    assert!(!text.contains("BROKEN"), "{text}");
}

/// What the checker is for, over real processes.
#[test]
fn replicas_that_keep_their_copies_too_long_are_found_out() {
    let output = run(&["--only", "blunder"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("reads were wrong") && text.contains("older than the bound: "), "{text}");
    assert!(text.contains("BROKEN blunder"), "{text}");
}

#[test]
fn the_scenarios_have_names() {
    let output = run(&["--list"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success());
    let names: BTreeSet<String> = text.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect();
    let played: BTreeSet<String> = IN_BRIEF.iter().map(|name| name.replace('_', "-")).collect();
    assert_eq!(names, played, "each is played in brief");
}

#[test]
fn a_missing_server_is_named() {
    let output = run(&["--larder", "/nowhere/larder"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("there is no /nowhere/larder"), "{errors}");
}
