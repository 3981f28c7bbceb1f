//! The commands that call `CacheAdmin`, as they are typed, against the program itself.

mod terminal;

use larder_proto::catalog::{CreateProductRequest, GetProductRequest, Product, ReadOptions, read_options::Consistency};
use larder_test_servers::{Redis, RedisOptions, free_port};
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    time::Duration,
};

use self::terminal::Terminal;
use crate::harness::{Database, Process, Ran, eventually, product};

/// Flags of replicas that share a Redis.
async fn share(database: &Database, redis: &Redis) -> Process {
    Process::start_with(database, &["--redis-url", &redis.url()]).await
}

async fn create(process: &Process, product: Product) {
    let request = CreateProductRequest { product: Some(product), ..Default::default() };
    let created = process.client().create_product(request).await.expect("the product to be created").into_inner();
    // By then the server has learned from the log of its own write, which would drop a copy of before.
    let read = ReadOptions { consistency: Some(Consistency::FullyConsistent(true)), ..ReadOptions::default() };
    let request = GetProductRequest { id: created.product.expect("a product").id, read: Some(read) };
    process.client().get_product(request).await.expect("the product");
}

/// Reads a product so often that it stands in memory.
async fn read(process: &Process, id: &str, times: usize) {
    for _ in 0..times {
        let request = GetProductRequest { id: id.to_owned(), read: None };
        process.client().get_product(request).await.expect("the product");
    }
}

/// Runs a command that succeeds, and returns what it printed.
async fn ok(process: &Process, arguments: &[&str]) -> String {
    let Ran { code, out, err } = process.larder(arguments).await;
    assert_eq!(code, Some(0), "{arguments:?}: {out}{err}");
    out
}

/// Runs a command with `--json`, and returns the object on each line.
async fn json(process: &Process, arguments: &[&str]) -> Vec<Value> {
    let out = ok(process, &[arguments, &["--json"]].concat()).await;
    out.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

/// What memory has of a product, and whether it is valid.
async fn in_memory(process: &Process, id: &str) -> (bool, bool) {
    let entry = json(process, &["inspect", id]).await.remove(0);
    let l1 = &entry["tiers"][0];
    assert_eq!(l1["tier"], "CACHE_TIER_L1");
    (l1["present"] == true, l1["valid"] == true)
}

/// Sends a signal to a command that runs.
async fn signal(command: &Child, name: &str) {
    let pid = command.id().expect("a process that runs").to_string();
    let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid]).status().await;
    assert!(sent.expect("a shell").success(), "the signal to be sent");
}

#[tokio::test]
async fn what_a_replica_did_and_has_is_told() {
    let database = Database::sqlite();
    let process = Process::start(&database).await;
    create(&process, product("pan")).await;
    eventually("a copy in memory", async || {
        read(&process, "pan", 3).await;
        in_memory(&process, "pan").await == (true, true)
    })
    .await;

    let stats = json(&process, &["stats"]).await.remove(0);
    let l1 = &stats["replicas"][0]["tiers"][0];
    let hits: u64 = l1["hits"].as_str().expect("hits").parse().expect("a number");
    assert!(hits >= 2, "{stats}");
    let table = ok(&process, &["stats", "--all"]).await;
    for part in ["        L1  database\n", "\nhit rate  ", "\nof at most   256 MiB", "\nloads  ", "\ninvalidations  "] {
        assert!(table.contains(part), "{part:?} in:\n{table}");
    }

    let entry = ok(&process, &["inspect", "pan", "product:pan"]).await;
    assert_eq!(entry.matches("product:pan\nTIER").count(), 2, "by id and by key:\n{entry}");
    assert!(entry.contains("\nL1        product  yes "), "{entry}");
    assert!(entry.contains("it is the row itself"), "{entry}");
    let Ran { code, out, err } = process.larder(&["inspect", "pan", "no-such-pan"]).await;
    assert_eq!(code, Some(66), "{out}{err}");
    assert!(err.contains("no tier has these: product:no-such-pan"), "{err}");
    assert!(out.contains("it is the row itself"), "the other one is told all the same: {out}");

    let mut hot = Vec::new();
    eventually("a hot key", async || {
        read(&process, "pan", 300).await;
        hot = json(&process, &["hot", "--top", "1"]).await;
        !hot.is_empty()
    })
    .await;
    assert_eq!((hot.len(), &hot[0]["key"]), (1, &"product:pan".into()));
    assert!(ok(&process, &["hot"]).await.starts_with("READS/S"));

    let purged = ok(&process, &["purge"]).await;
    assert!(purged.ends_with("freed\n"), "{purged}");
    let health = ok(&process, &["health", "--deep"]).await;
    assert!(health.contains("\nhealthy\n") && health.contains("\ndatabase  works"), "{health}");
    assert_eq!(json(&process, &["health", "--deep"]).await[0]["healthy"], true);
    let warmed = ok(&process, &["warm", "ids", "pan", "no-such-pan"]).await;
    assert!(warmed.starts_with("2 products: ") && warmed.contains("1 not found, 0 failed"), "{warmed}");
    let warmed = json(&process, &["warm", "categories", "kitchen"]).await;
    assert_eq!(warmed.last().expect("the end")["done"], "1", "{warmed:?}");
    process.stop().await;
}

#[tokio::test]
async fn every_kind_of_invalidation_drops_what_it_says() {
    let database = Database::sqlite();
    let process = Process::start(&database).await;
    create(&process, product("pan")).await;
    let warm = async || {
        eventually("a copy in memory", async || {
            read(&process, "pan", 1).await;
            in_memory(&process, "pan").await == (true, true)
        })
        .await;
    };
    for kind in [
        &["keys", "pan", "lid"][..],
        &["categories", "kitchen"],
        &["tags", "copper"],
        &["pattern", "product:p?n"],
        &["all", "--wait", "0s"],
    ] {
        warm().await;
        let dry = ok(&process, &[&["invalidate"], kind, &["--dry-run"]].concat()).await;
        assert!(dry.starts_with("would drop 1 copy in"), "{kind:?}: {dry}");
        assert!(dry.contains("\n  product:pan\n"), "{kind:?}: {dry}");
        assert_eq!(in_memory(&process, "pan").await, (true, true), "{kind:?}: a dry run drops nothing");

        let yes: &[&str] = if kind[0] == "all" { &["--yes"] } else { &[] };
        let done = ok(&process, &[&["invalidate"], kind, yes].concat()).await;
        let token = done.strip_prefix("confirmed by 1 replica\ntoken: ").expect("who confirmed").trim();
        assert!(!in_memory(&process, "pan").await.1, "{kind:?}");
        ok(&process, &["get", "pan", "--fresh", token]).await;
    }

    // Nobody is asked where there is no terminal.
    warm().await;
    let Ran { code, err, .. } = process.larder(&["invalidate", "all"]).await;
    assert_eq!(code, Some(64));
    assert!(err.contains("hint: say --yes"), "{err}");
    assert_eq!(in_memory(&process, "pan").await, (true, true), "nothing was dropped");
    // On a terminal only yes is one.
    for (answer, code) in [("y\n", 64), ("yes\n", 0)] {
        let mut terminal = Terminal::open();
        let mut asked = terminal.spawn(process.client_command(&["invalidate", "all"]).await);
        terminal.wait_for("Type yes to go on: ").await;
        terminal.send(answer);
        assert_eq!(terminal.ended(&mut asked).await.code(), Some(code), "{answer:?}");
        assert_eq!(in_memory(&process, "pan").await.1, code == 64, "{answer:?}");
    }

    let refused = process.larder(&["invalidate", "pattern", "[a", "--json"]).await;
    assert_eq!(refused.code, Some(64), "{refused:?}");
    assert!(refused.err.contains("pattern: "), "{refused:?}");
    let refused = process.larder(&["invalidate", "keys", "pan", "--wait", "11s"]).await;
    assert_eq!(refused.code, Some(64), "{refused:?}");
    process.stop().await;
}

#[tokio::test]
async fn replicas_that_do_not_answer_are_named() {
    let (database, redis) = (Database::sqlite(), Redis::start(RedisOptions::default()).await);
    let (a, b) = (share(&database, &redis).await, share(&database, &redis).await);
    eventually("both replicas", async || {
        json(&a, &["stats", "--all"]).await[0]["replicas"].as_array().is_some_and(|told| told.len() == 2)
    })
    .await;
    // On a busy machine one of them may answer too late for once.
    let mut table = String::new();
    eventually("a table of both replicas", async || {
        table = ok(&a, &["stats", "--all"]).await;
        table.matches("        L1     ").count() == 2
    })
    .await;
    assert_eq!((table.matches("\nbus  ").count(), table.matches("\nRedis  ").count()), (2, 1), "{table}");
    let done = ok(&a, &["invalidate", "tags", "copper", "--wait", "10s"]).await;
    assert!(done.starts_with("confirmed by 2 replicas\ntoken: "), "{done}");

    let own = json(&b, &["stats"]).await.remove(0);
    b.signal("STOP").await;
    let id = own["replicas"][0]["replica"]["id"].as_str().expect("an id").to_owned();
    let done = ok(&a, &["invalidate", "tags", "copper", "--wait", "200ms"]).await;
    let stats = ok(&a, &["stats", "--all"]).await;
    b.signal("CONT").await;
    assert!(done.starts_with("confirmed by 1 replica; 1 did not confirm in time"), "{done}");
    for text in [done, stats] {
        let silent = text.lines().find(|line| line.starts_with("silent: ")).unwrap_or_else(|| panic!("{text}"));
        assert!(silent.contains(&id), "{silent}");
    }

    redis.kill();
    eventually("a replica that is not healthy", async || {
        let Ran { code, out, .. } = a.larder(&["health", "--deep"]).await;
        code == Some(69) && out.contains("\nnot healthy\n") && out.contains("\nL2        fails")
    })
    .await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn stats_are_told_again_and_again() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};

    let database = Database::sqlite();
    let mut process = Process::start(&database).await;
    let mut command = process.client_command(&["stats", "--watch", "100ms", "--json"]).await;
    let mut watching = command.stdout(std::process::Stdio::piped()).spawn().expect("larder to start");
    let mut lines = BufReader::new(watching.stdout.take().expect("a pipe")).lines();
    for _ in 0..3 {
        let line = tokio::time::timeout(Duration::from_mins(1), lines.next_line()).await.expect("a line in time");
        let told: Value = serde_json::from_str(&line.expect("to read").expect("a line")).expect("an object");
        assert_eq!(told["replicas"].as_array().map(Vec::len), Some(1));
    }
    let mut command = process.client_command(&["stats", "--watch"]).await;
    let mut ended = command.stdout(std::process::Stdio::piped()).spawn().expect("larder to start");
    let mut table = BufReader::new(ended.stdout.take().expect("a pipe")).lines();
    let line = tokio::time::timeout(Duration::from_mins(1), table.next_line()).await.expect("a line in time");
    assert!(line.expect("to read").is_some_and(|line| line.contains(", up ")));
    signal(&ended, "INT").await;
    let code = tokio::time::timeout(Duration::from_mins(1), ended.wait()).await.expect("an end").expect("its state");
    assert_eq!(code.code(), Some(0), "ended as it was asked");

    process.signal("KILL").await;
    process.ended().await;
    let ended = tokio::time::timeout(Duration::from_mins(1), watching.wait()).await.expect("an end");
    assert_eq!(ended.expect("its state").code(), Some(69), "the server is away");
    let Ran { code, err, .. } = process.larder(&["stats"]).await;
    assert_eq!(code, Some(69));
    assert!(err.contains("cannot reach http://127.0.0.1:") && err.contains("--admin-address"), "{err}");
}

#[tokio::test]
async fn top_shows_figures_and_puts_the_terminal_back() {
    let database = Database::sqlite();
    let process = Process::start(&database).await;
    create(&process, product("pan")).await;
    let refused = process.larder(&["top"]).await;
    assert_eq!(refused.code, Some(64), "without a terminal: {refused:?}");

    for end in ["q", "\u{1b}", "\u{3}", "TERM"] {
        let mut terminal = Terminal::open();
        let before = terminal.mode();
        let mut top = terminal.spawn(process.client_command(&["top"]).await);
        terminal.wait_for("larder top").await;
        terminal.wait_for("replica").await;
        terminal.wait_for("database").await;
        assert_ne!(terminal.mode(), before, "it has the terminal to itself");
        if end == "TERM" {
            signal(&top, "TERM").await;
        } else {
            terminal.send(end);
        }
        assert_eq!(terminal.ended(&mut top).await.code(), Some(0), "{end:?}");
        assert_eq!(terminal.mode(), before, "{end:?}");
        // What it wrote last may still be on its way.
        terminal.wait_for("\u{1b}[?1049l").await;
        let shown = terminal.shown();
        let leave = shown.rfind("\u{1b}[?1049l").expect("the screen to be put back");
        assert!(shown.rfind("\u{1b}[?1049h").is_some_and(|enter| enter < leave), "{end:?}");
    }
    process.stop().await;
}

#[tokio::test]
async fn top_waits_for_a_server_that_went_away() {
    let database = Database::sqlite();
    // Nobody else gets them while it is away.
    let [listen, admin] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let process = Process::start_with(&database, &["--listen", &listen, "--admin-listen", &admin]).await;
    let mut terminal = Terminal::open();
    let mut top = terminal.spawn(process.client_command(&["top"]).await);
    terminal.wait_for("replica").await;
    process.kill().await;
    terminal.wait_for("old figures, trying again").await;
    let process = Process::start_with(&database, &["--listen", &listen, "--admin-listen", &admin]).await;
    // What is drawn again when the line of the loss is wiped.
    terminal.forget();
    eventually("figures of the new one", async || {
        read_absent(&process).await;
        terminal.shown().contains("product:")
    })
    .await;
    terminal.send("q");
    assert_eq!(terminal.ended(&mut top).await.code(), Some(0));
    process.stop().await;
}

/// Reads what is not there, often enough to be told as hot.
async fn read_absent(process: &Process) {
    for _ in 0..100 {
        let request = GetProductRequest { id: "absent".to_owned(), read: None };
        process.client().get_product(request).await.expect_err("no product");
    }
}
