//! The commands in the README and in the tutorial do on a real cluster what the pages show.
//!
//! With `LARDER_UPDATE_PAGES=1` the test writes the output that it got into the pages instead of comparing.

use std::{
    fmt::Write as _,
    ops::Range,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use larder_test_servers::{Cluster, ClusterOptions, Ports, TempDir};
use tokio::{process::Command, time::timeout};

use crate::harness::{Process, grpcurl};

/// Where the replicas listen in the text of the pages.
const CATALOG: [&str; 3] = ["127.0.0.1:50051", "127.0.0.1:50061", "127.0.0.1:50071"];
/// Stands between two blocks when the output of the first is not compared.
const VARIES: &str = "<!-- The output varies. -->";
/// Ends the output of a step.
const END: char = '\u{1e}';
/// How long all commands of a page may take.
const LIMIT: Duration = Duration::from_mins(3);

/// A command of a page, and the place of the output that the page shows.
#[derive(Debug, PartialEq)]
struct Step {
    command: String,
    shown: Option<Range<usize>>,
    varies: bool,
}

#[tokio::test]
async fn the_commands_of_the_pages_give_what_they_show() {
    compare("README.md", 3).await;
    compare("docs/tutorial.md", 12).await;
}

/// Runs the commands of a page, at least `least` of them with output, on a cluster of their own.
async fn compare(page: &str, least: usize) {
    let Some(grpcurl) = grpcurl() else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let mut text = std::fs::read_to_string(&path).expect("the page");
    let steps = steps(&text);
    assert!(steps.iter().filter(|step| step.shown.is_some()).count() >= least, "{page}: {steps:#?}");

    let program = PathBuf::from(Process::command().await.as_std().get_program());
    let cluster = start(&program).await;
    let programs = [grpcurl, program, cluster.postgres().psql_program()];
    let outputs = run(&cluster, &programs, &steps).await;
    assert_eq!(outputs.len(), steps.len(), "{page}: the commands ended early:\n{outputs:#?}");
    let update = std::env::var_os("LARDER_UPDATE_PAGES").is_some_and(|value| value == "1");
    // From the end, so that places before it stay where they are.
    for (step, output) in steps.iter().zip(&outputs).rev() {
        let Some(shown) = step.shown.clone() else { continue };
        if update {
            text.replace_range(shown, output);
        } else if !step.varies && comparable(output) != comparable(&text[shown.clone()]) {
            let (command, shown) = (&step.command, &text[shown]);
            panic!("{page}:\n{command}\ngives\n{output}\nand the page shows\n{shown}");
        }
    }
    if update {
        std::fs::write(path, text).expect("the page to be written");
    }
}

/// Starts a cluster on free ports. Another program may take a port between the look and the use, and then the cluster is started
/// again.
async fn start(program: &Path) -> Cluster {
    // A Redis that answers late on a busy machine is no Redis that is away: the pages show which tier answers.
    let variables = vec![("LARDER_L2_COMMAND_TIMEOUT", "10s".to_owned())];
    let options =
        ClusterOptions { ports: Ports::Free, program: program.to_owned(), redis: true, proxy: false, variables };
    for _ in 0..4 {
        match Cluster::start(options.clone()).await {
            Ok(cluster) => return cluster,
            Err(failure) => eprintln!("no cluster, once more: {failure}"),
        }
    }
    Cluster::start(options).await.expect("a cluster")
}

/// Runs commands in one shell. Returns what each printed.
async fn run(cluster: &Cluster, programs: &[PathBuf], steps: &[Step]) -> Vec<String> {
    let directory = TempDir::new("page");
    let mut path = vec![directory.path().to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    for program in programs {
        let name = program.file_name().expect("the name of a program");
        std::os::unix::fs::symlink(program, directory.join(name)).expect("a link");
    }
    let mut script = String::new();
    for step in steps {
        let mut command = step.command.clone();
        for (number, address) in CATALOG.into_iter().enumerate() {
            command = command.replace(address, &cluster.replicas()[number].address().to_string());
        }
        let _ = write!(script, "{{\n{command}\n}} 2>&1\nprintf '{END}'\n");
        // A change by SQL is promised to be seen within the staleness bound, and usually is at once.
        if command.contains("psql") {
            script.push_str("sleep 1\n");
        }
    }
    let file = directory.join("script");
    std::fs::write(&file, script).expect("a script");
    let mut shell = Command::new("sh");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LARDER_")) {
        shell.env_remove(name);
    }
    let output = shell
        .arg(file)
        .current_dir(directory.path())
        .env("PATH", std::env::join_paths(path).expect("a path"))
        .env("LARDER_ADDRESS", cluster.replicas()[0].address().to_string())
        .env("LARDER_ADMIN_ADDRESS", cluster.admin_addresses()[0].to_string())
        .env("DATABASE_URL", cluster.database_url())
        .env("REDIS_PID", cluster.redis().and_then(larder_test_servers::Redis::pid).expect("Redis").to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, output).await.expect("the commands to end").expect("a shell");
    let printed = String::from_utf8(output.stdout).expect("text");
    printed.split_terminator(END).map(lines).collect()
}

/// The lines of a text, without blank space at their ends.
fn lines(text: &str) -> String {
    let mut lines = String::new();
    for line in text.trim_end().lines() {
        lines.push_str(line.trim_end());
        lines.push('\n');
    }
    lines
}

/// Finds the commands of a page: each block of `sh`, with the block of output behind it, and in blocks of `console` each
/// line behind a `$`, with the lines behind it. What sets up the reader's machine is left out: `make` and `export`.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut place, mut block, mut between) = (0, None, String::new());
    for line in page.split_inclusive('\n') {
        let (start, end) = (place, place + line.len());
        place = end;
        match (line.strip_prefix("```").map(str::trim_end), block) {
            (Some(language), None) => {
                if language == "sh" {
                    steps.push(Step { command: String::new(), shown: None, varies: false });
                } else if language == "text"
                    && ["", VARIES].contains(&between.trim())
                    && let Some(step) = steps.last_mut().filter(|step| step.shown.is_none())
                {
                    step.shown = Some(end..end);
                    step.varies = !between.trim().is_empty();
                }
                block = Some(language);
            }
            (Some(_), Some(_)) => {
                block = None;
                between.clear();
            }
            (None, None) => between.push_str(line),
            (None, Some("sh")) => steps.last_mut().expect("a command").command.push_str(line),
            (None, Some("text")) => {
                if let Some(shown) = steps.last_mut().and_then(|step| step.shown.as_mut()).filter(|it| it.end == start)
                {
                    shown.end = end;
                }
            }
            (None, Some("console")) => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => {
                    steps.push(Step { command: command.to_owned(), shown: Some(end..end), varies: false });
                }
                (None, Some(step)) if step.command.ends_with("\\\n") => {
                    step.command.push_str(line);
                    step.shown = Some(end..end);
                }
                (None, Some(Step { shown: Some(shown), .. })) => shown.end = end,
                (None, _) => {}
            },
            (None, Some(_)) => {}
        }
    }
    steps.retain(|step| !step.command.starts_with("make ") && !step.command.contains("export "));
    // Some commands of the README stand for a deployment, and are run nowhere.
    steps.retain(|step| !step.command.contains(" larder serve") && !step.command.starts_with("kubectl "));
    steps
}

/// A text without what differs from one cluster to the next: durations, sizes, tokens, etags and the width of columns.
fn comparable(text: &str) -> Vec<Vec<String>> {
    const UNITS: [&str; 8] = ["ns", "µs", "ms", "s", "B", "KiB", "MiB", "%"];
    let number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit()) && word.parse::<f64>().is_ok();
    let duration = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_digit())
            && word.ends_with(['s', 'm'])
            && word.chars().all(|c| c.is_ascii_digit() || ".hms".contains(c))
    };
    let etag = |word: &str| (8..=9).contains(&word.len()) && word.chars().all(|c| c.is_ascii_hexdigit());
    let token =
        |word: &str| word.len() >= 40 && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut kept = Vec::new();
        for (place, word) in words.iter().enumerate() {
            let next = words.get(place + 1).copied().unwrap_or_default();
            if number(word) && UNITS.contains(&next) || duration(word) {
                kept.push("(amount)".to_owned());
            } else if UNITS.contains(word) && place > 0 && number(words[place - 1]) {
                // Told with its number.
            } else if etag(word) || token(word) {
                kept.push("(varies)".to_owned());
            } else if word.len() > 2 && word.chars().all(|c| c == '-') {
                // A rule of psql, as wide as its column.
                kept.push("---".to_owned());
            } else {
                kept.push((*word).to_owned());
            }
        }
        kept
    };
    text.lines().map(line).filter(|line| !line.is_empty()).collect()
}

#[test]
fn commands_are_found_with_their_output() {
    let page = "# T\n\n```sh\nmake cluster\n```\n\n```text\nup\n```\n\nThen\n\n```sh\nls\n```\n\n```text\na\nb\n```\n\n```sh\nrm a\n```\n\n\
                And\n\n```text\nno output\n```\n\n```sh\ndate\n```\n\n<!-- The output varies. -->\n\n```text\ntoday\n```\n\n\
                ```console\n$ x=$(a \\\n    b)\n$ echo 1\n1\n$ echo 2\n2\n```\n";
    let found: Vec<_> = steps(page)
        .into_iter()
        .map(|step| (step.command, step.shown.map(|shown| page[shown].to_owned()), step.varies))
        .collect();
    let step = |command: &str, shown: Option<&str>, varies| (command.to_owned(), shown.map(str::to_owned), varies);
    let expected = [
        step("ls\n", Some("a\nb\n"), false),
        step("rm a\n", None, false),
        step("date\n", Some("today\n"), true),
        step("x=$(a \\\n    b)\n", Some(""), false),
        step("echo 1\n", Some("1\n"), false),
        step("echo 2\n", Some("2\n"), false),
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_differs_from_run_to_run_is_not_compared() {
    let alike = |one, other| comparable(one) == comparable(other);
    assert!(alike("L1  yes  4ae518a8  76.8 ms    9m7s  879 B", "L1 yes 1193954c0 2.13 s 9m40s 876 B"));
    assert!(!alike("price EUR 189.00", "price EUR 179.00"));
    assert!(!alike("put  copper-saucepan-18cm", "left  copper-saucepan-18cm"));
}
