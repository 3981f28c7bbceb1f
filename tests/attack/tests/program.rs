//! The program itself: a few attacks in brief, and what it says when it cannot begin.

use std::{path::Path, process::Command};

fn run(arguments: &[&str]) -> (bool, String) {
    let program =
        Command::new(env!("CARGO_BIN_EXE_larder-attack")).args(arguments).output().expect("the program to start");
    let text = [program.stdout, program.stderr].concat();
    (program.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_replica_holds_in_brief() {
    if !Path::new("/proc/self/statm").exists() {
        // The memory of the replica is read there.
        return;
    }
    let (held, text) = run(&["--brief", "--only", "unfinished-messages,ping-flood,continuations"]);
    assert!(held && text.contains("Held against all 3."), "{text}");
}

#[test]
fn the_attacks_have_names() {
    let (listed, text) = run(&["--list"]);
    assert!(listed && text.lines().any(|line| line.starts_with("slow-readers ")), "{text}");
}

#[test]
fn a_missing_server_is_named() {
    let (held, text) = run(&["--larder", "/nowhere/larder"]);
    assert!(!held && text.contains("there is no /nowhere/larder"), "{text}");
}
