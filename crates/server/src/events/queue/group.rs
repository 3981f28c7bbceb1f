//! A consumer group of a stream, on a connection of its own (<https://redis.io/docs/latest/develop/data-types/streams/>).

use std::{fmt, time::Duration};

use larder_cache::SharedConfig;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, Value, aio::MultiplexedConnection, cmd};
use tokio::time::timeout;

use super::entry::{Entry, bytes};
use crate::events::event::LONGEST;

/// A consumer of a group of a stream.
pub(super) struct Group {
    client: Client,
    connect_timeout: Duration,
    stream: String,
    dead: String,
    name: String,
    consumer: String,
    connection: Option<MultiplexedConnection>,
}

/// Why a command failed. Unless the failure [is a refusal](Self::is_refusal), the connection can no longer be used.
#[derive(Debug)]
pub(super) enum Failure {
    /// Redis cannot be reached.
    Connecting(String),
    /// Redis refused the command, or the connection broke.
    Redis(RedisError),
    /// Redis did not answer in time.
    Late,
    /// The reply has an unexpected form.
    Strange(&'static str),
}

/// How long a command without a wait of its own may take.
const COMMAND: Duration = Duration::from_secs(2);
/// The longest wait for entries that a command asks of Redis.
const BLOCK: Duration = Duration::from_secs(2);
/// Entries read at once.
const MOST: usize = 100;
/// The newest entries of the dead stream that are kept.
const MOST_DEAD: usize = 10_000;
/// Fields of an entry that is put aside, and their bytes: as many as an event may have, and some for what stands beside it.
const MOST_DEAD_FIELDS: usize = 16;
const MOST_DEAD_BYTES: usize = LONGEST + (8 << 10);

/// Removes consumers without pending entries. Check and removal are one step, because removing a consumer loses the entries that it
/// may have received since the check.
const FORGET: &str = "\
    local gone = 0 \
    for _, facts in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do \
        local consumer = {} \
        for at = 1, #facts, 2 do consumer[facts[at]] = facts[at + 1] end \
        if consumer.pending == 0 and consumer.idle >= tonumber(ARGV[2]) and consumer.name ~= ARGV[3] then \
            redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name) \
            gone = gone + 1 \
        end \
    end \
    return gone";

impl Group {
    /// A consumer without a connection. Fails when the URL of Redis is invalid.
    pub(super) fn new(shared: &SharedConfig, stream: &str, group: &str, consumer: &str) -> Result<Self, String> {
        Ok(Self {
            client: larder_cache::shared_client(shared)?,
            connect_timeout: shared.connect_timeout,
            stream: stream.to_owned(),
            dead: format!("{stream}:dead"),
            name: group.to_owned(),
            consumer: consumer.to_owned(),
            connection: None,
        })
    }

    /// Connects again, and creates the group if there is none. A new group begins with the oldest entry of the stream.
    pub(super) async fn open(&mut self) -> Result<(), Failure> {
        self.connection = None;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            // The time limits of commands are set here, not by the client.
            .set_response_timeout(None);
        let connect = self.client.get_multiplexed_async_connection_with_config(&config);
        let connected = timeout(self.connect_timeout, connect).await;
        let connection = match connected {
            Ok(connected) => connected.map_err(|error| Failure::Connecting(error.to_string()))?,
            Err(_elapsed) => return Err(Failure::Connecting("connecting timed out".to_owned())),
        };
        self.connection = Some(connection);
        let mut create = cmd("XGROUP");
        create.arg("CREATE").arg(&self.stream).arg(&self.name).arg("0").arg("MKSTREAM");
        match self.ask::<Value>(&create, COMMAND).await {
            Err(Failure::Redis(error)) if error.code() == Some("BUSYGROUP") => Ok(()),
            done => done.map(drop),
        }
    }

    /// The pending entries of this consumer after an id.
    pub(super) async fn own_entries(&mut self, after: &str) -> Result<Vec<Entry>, Failure> {
        self.read(after, None).await
    }

    /// Entries that nobody has read, after a wait of at most `within`, or of two seconds.
    pub(super) async fn new_entries(&mut self, within: Duration) -> Result<Vec<Entry>, Failure> {
        // 0 would be for ever.
        self.read(">", Some(within.clamp(Duration::from_millis(1), BLOCK))).await
    }

    async fn read(&mut self, after: &str, block: Option<Duration>) -> Result<Vec<Entry>, Failure> {
        let mut command = cmd("XREADGROUP");
        command.arg("GROUP").arg(&self.name).arg(&self.consumer).arg("COUNT").arg(MOST);
        if let Some(block) = block {
            command.arg("BLOCK").arg(millis(block));
        }
        command.arg("STREAMS").arg(&self.stream).arg(after);
        let answer = self.ask(&command, COMMAND + block.unwrap_or_default()).await?;
        entries_of_stream(answer).ok_or(Failure::Strange("XREADGROUP"))
    }

    /// Takes over entries that any consumer has had in hand for at least `idle`, from an id on. Returns from which to go on, if
    /// there may be more.
    pub(super) async fn claim(&mut self, start: &str, idle: Duration) -> Result<(Option<String>, Vec<Entry>), Failure> {
        let mut command = cmd("XAUTOCLAIM");
        command.arg(&self.stream).arg(&self.name).arg(&self.consumer).arg(millis(idle)).arg(start);
        command.arg("COUNT").arg(MOST);
        let answer = self.ask(&command, COMMAND).await?;
        claimed(answer).ok_or(Failure::Strange("XAUTOCLAIM"))
    }

    /// Says that entries are dealt with.
    pub(super) async fn acknowledge(&mut self, ids: &[String]) -> Result<(), Failure> {
        let mut command = cmd("XACK");
        command.arg(&self.stream).arg(&self.name).arg(ids);
        self.ask::<Value>(&command, COMMAND).await.map(drop)
    }

    /// How often an entry was given to a consumer.
    pub(super) async fn deliveries(&mut self, id: &str) -> Result<u64, Failure> {
        let mut command = cmd("XPENDING");
        command.arg(&self.stream).arg(&self.name).arg(id).arg(id).arg(1);
        let pending: Vec<(String, String, u64, u64)> = self.ask(&command, COMMAND).await?;
        Ok(pending.first().map_or(0, |&(_, _, _, deliveries)| deliveries))
    }

    /// Puts an entry aside, with the reason, and says in the same step that it is dealt with.
    pub(super) async fn bury(&mut self, entry: &Entry, reason: &str) -> Result<(), Failure> {
        let mut add = cmd("XADD");
        add.arg(&self.dead).arg("MAXLEN").arg("~").arg(MOST_DEAD).arg("*");
        add.arg("entry").arg(&entry.id).arg("reason").arg(reason);
        let mut room = MOST_DEAD_BYTES;
        for (name, value) in entry.fields.iter().flatten().take(MOST_DEAD_FIELDS) {
            add.arg(cut(name, &mut room)).arg(cut(value, &mut room));
        }
        let mut both = redis::pipe();
        both.atomic().add_command(add).ignore();
        both.cmd("XACK").arg(&self.stream).arg(&self.name).arg(&entry.id).ignore();
        let connection = self.connection.as_mut().ok_or(Failure::Strange("no connection"))?;
        match timeout(COMMAND, both.exec_async(connection)).await {
            Ok(done) => done.map_err(Failure::Redis),
            Err(_elapsed) => Err(Failure::Late),
        }
    }

    /// Removes the other consumers that have nothing in hand and were not heard of for at least `idle`; returns how many.
    pub(super) async fn forget_consumers(&mut self, idle: Duration) -> Result<u64, Failure> {
        let mut command = cmd("EVAL");
        command.arg(FORGET).arg(1).arg(&self.stream).arg(&self.name).arg(millis(idle)).arg(&self.consumer);
        self.ask(&command, COMMAND).await
    }

    async fn ask<T: FromRedisValue>(&mut self, command: &Cmd, within: Duration) -> Result<T, Failure> {
        let connection = self.connection.as_mut().ok_or(Failure::Strange("no connection"))?;
        match timeout(within, command.query_async(connection)).await {
            Ok(answer) => answer.map_err(Failure::Redis),
            Err(_elapsed) => Err(Failure::Late),
        }
    }
}

impl Failure {
    /// Whether Redis has answered, with a no.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Redis(error) => {
                !(error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error())
            }
            Self::Connecting(_) | Self::Late | Self::Strange(_) => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting(error) => f.write_str(error),
            Self::Redis(error) => error.fmt(f),
            Self::Late => f.write_str("a command timed out"),
            Self::Strange(command) => write!(f, "an answer that is none: {command}"),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// As much of a text as there is room for.
fn cut<'a>(text: &'a [u8], room: &mut usize) -> &'a [u8] {
    let part = &text[..text.len().min(*room)];
    *room -= part.len();
    part
}

/// Reads a list of one stream with its entries, or nothing.
fn entries_of_stream(answer: Value) -> Option<Vec<Entry>> {
    match answer {
        Value::Nil => Some(Vec::new()),
        Value::Array(streams) => {
            let Some(Value::Array(stream)) = streams.into_iter().next() else { return None };
            Entry::read_all(stream.into_iter().nth(1)?)
        }
        _ => None,
    }
}

/// Reads the id from which to go on, 0-0 at the end, and the entries. Those that are in no stream any more, which Redis then no
/// longer counts as in anybody's hand, it tells as a third part.
fn claimed(answer: Value) -> Option<(Option<String>, Vec<Entry>)> {
    let Value::Array(parts) = answer else { return None };
    let mut parts = parts.into_iter();
    let next = String::from_utf8(bytes(parts.next()?)?).ok()?;
    let entries = Entry::read_all(parts.next()?)?;
    if let Some(Value::Array(trimmed)) = parts.next()
        && !trimmed.is_empty()
    {
        tracing::warn!(entries = trimmed.len(), "events were trimmed from the stream before they were dealt with");
    }
    Some(((next != "0-0").then_some(next), entries))
}
