//! A connection for commands, whatever it leads to.

use std::collections::HashMap;

use futures_util::{FutureExt as _, future::try_join_all};
use redis::{
    Arg, Cmd, Pipeline, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
    cluster_routing::{RoutingInfo, SingleNodeRoutingInfo, Slot},
};

use super::topology::must_be_master;

/// A connection for commands.
#[derive(Clone)]
pub(crate) enum Link {
    /// To one server.
    Single(MultiplexedConnection),
    /// To the server that was the master when the connection was opened.
    Master(MultiplexedConnection),
    /// To all nodes of a cluster.
    Cluster(ClusterConnection),
}

/// Which commands of a pipeline a node of a cluster gets together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Route {
    /// Any node.
    Any,
    /// The node that has the slot of the key.
    Slot(Slot),
    /// Several nodes: the client splits the command.
    Several,
}

impl Link {
    /// Whether what the link leads to still answers, and is still what it was.
    pub(crate) async fn probe(&mut self) -> RedisResult<()> {
        let ping = redis::cmd("PING");
        match self {
            Self::Single(connection) => ping.query_async::<Value>(connection).await.map(drop),
            Self::Master(connection) => must_be_master(connection).await,
            Self::Cluster(connection) => {
                let any = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
                connection.route_command(ping, any).await.map(drop)
            }
        }
    }

    /// Whether the link outlives an error of one connection, since there are others below it.
    pub(crate) fn has_several_connections(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) | Self::Master(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) | Self::Master(connection) => {
                connection.req_packed_commands(pipeline, offset, count)
            }
            Self::Cluster(connection) => scatter(connection, pipeline).boxed(),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) | Self::Master(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// Sends the commands of a pipeline to the nodes that they belong to, and returns the replies in the order of the commands. The
/// commands of one slot keep their order; a command for several slots waits for all before it, and all after it wait for it.
async fn scatter(connection: &ClusterConnection, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
    let commands: Vec<&Cmd> = pipeline.cmd_iter().collect();
    let routes: Vec<Route> = commands.iter().map(|command| route(command)).collect();
    let mut replies = vec![Value::Nil; commands.len()];
    let mut from = 0;
    while from < commands.len() {
        if routes[from] == Route::Several {
            replies[from] = commands[from].query_async(&mut connection.clone()).await?;
            from += 1;
            continue;
        }
        let to =
            routes[from..].iter().position(|route| *route == Route::Several).map_or(commands.len(), |at| from + at);
        let mut groups: HashMap<Route, Vec<usize>> = HashMap::new();
        for (index, route) in routes.iter().enumerate().take(to).skip(from) {
            groups.entry(*route).or_default().push(index);
        }
        let sent = groups.into_values().map(|indices| {
            let mut group = Pipeline::with_capacity(indices.len());
            for &index in &indices {
                group.add_command(commands[index].clone());
            }
            let mut connection = connection.clone();
            async move {
                let values = connection.req_packed_commands(&group, 0, indices.len()).await?;
                RedisResult::Ok((indices, values))
            }
        });
        for (indices, values) in try_join_all(sent).await? {
            for (index, value) in indices.into_iter().zip(values) {
                replies[index] = value;
            }
        }
        from = to;
    }
    Ok(replies)
}

/// Where a command belongs. Knows the commands that this crate sends.
fn route(command: &Cmd) -> Route {
    let mut arguments = command.args_iter().filter_map(|argument| match argument {
        Arg::Simple(bytes) => Some(bytes),
        _ => None,
    });
    let Some(name) = arguments.next() else { return Route::Any };
    let mut keys: Box<dyn Iterator<Item = &[u8]>> = match name {
        b"PUBLISH" | b"PING" => return Route::Any,
        b"EVAL" => Box::new(arguments.skip(2).take(1)),
        b"MGET" => Box::new(arguments),
        _ => Box::new(arguments.take(1)),
    };
    let Some(first) = keys.next().map(Slot::for_key) else { return Route::Any };
    if keys.all(|key| Slot::for_key(key) == first) { Route::Slot(first) } else { Route::Several }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_go_where_their_keys_are() {
        let mut eval = redis::cmd("EVAL");
        eval.arg("return 1").arg(1).arg("key").arg("value");
        let mut one = redis::cmd("MGET");
        one.arg("key").arg("lease:{key}");
        let mut several = redis::cmd("MGET");
        several.arg("key").arg("other");
        let mut set = redis::cmd("SET");
        set.arg("key").arg("{other}");
        let mut publish = redis::cmd("PUBLISH");
        publish.arg("key").arg("message");
        let slot = Route::Slot(Slot::for_key("key"));
        assert_eq!(
            [eval, one, several, set, publish].map(|command| route(&command)),
            [slot, slot, Route::Several, slot, Route::Any]
        );
    }
}
