//! Replays the inputs in `corpus/`, and mutations of them, without a fuzzer.

use std::{collections::BTreeSet, fs, panic, path::PathBuf};

use larder_fuzz::{TARGETS, Target};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

/// Mutations of each input.
const MUTATIONS: usize = 100;
/// Bytes of the longest input in the corpus: what a person can look at.
const LONGEST: u64 = 16 << 10;
/// Pieces that formats are made of.
const PIECES: [&[u8]; 12] =
    [b"\0", b"\xff\xff\xff\xff", b"\x80", b"\"", b"{", b"[", b"\n", b"%", b":", b"@", b"-1", "茶".as_bytes()];

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The inputs of a target by the names of their files, in an order that does not depend on the machine.
fn inputs(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(target.name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths: BTreeSet<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.into_iter().map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

/// Runs a target, and names the input if that panics.
fn run(target: &Target, what: &str, input: &[u8]) {
    if let Err(panic) = panic::catch_unwind(|| (target.run)(input)) {
        eprintln!("target {}, {what}: {:?}", target.name, input.escape_ascii().to_string());
        panic::resume_unwind(panic);
    }
}

fn mutated(input: &[u8], others: &[(String, Vec<u8>)], random: &mut SmallRng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = random.random(),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..random.random_range(at..=bytes.len()))),
            4 => drop(bytes.splice(at..at, PIECES[random.random_range(0..PIECES.len())].iter().copied())),
            _ => {
                let (_, other) = &others[random.random_range(0..others.len())];
                let from = random.random_range(0..=other.len());
                bytes.splice(at.., other[from..].iter().copied());
            }
        }
    }
    bytes
}

#[test]
fn every_target_keeps_its_promises_on_the_corpus() {
    for target in TARGETS {
        let inputs = inputs(target);
        let mut random = SmallRng::seed_from_u64(1);
        run(target, "no bytes", &[]);
        for (path, input) in &inputs {
            run(target, path, input);
            for number in 0..MUTATIONS {
                let mutated = mutated(input, &inputs, &mut random);
                run(target, &format!("mutation {number} of {path}"), &mutated);
            }
        }
    }
}

#[test]
fn every_target_has_inputs_and_every_input_a_target() {
    let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names.len(), TARGETS.len(), "two targets have one name");
    let folders: BTreeSet<String> =
        fs::read_dir(corpus()).unwrap().map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(folders.iter().map(String::as_str).collect::<BTreeSet<_>>(), names);
    for target in TARGETS {
        assert!(!inputs(target).is_empty(), "{}", target.name);
        for (path, input) in inputs(target) {
            assert!(input.len() as u64 <= LONGEST, "{path} is longer than {LONGEST} bytes");
        }
    }
}
