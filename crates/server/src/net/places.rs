//! Places of connections: how many a listener has, how many of them one peer may take, and which connection goes when a new one comes.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::usage::{Stage, Usage};

/// How many connections a listener has places for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Connections at once.
    pub connections: usize,
    /// Of these, connections from one peer address.
    pub per_peer: usize,
    /// Further connections, which are told that the server is full, and get an answer from health checks.
    pub spare: usize,
}

/// The places of a listener. When all are taken, a new connection takes the place of one that has no call in progress.
#[derive(Debug)]
pub(crate) struct Places {
    capacity: Capacity,
    taken: Mutex<Taken>,
    /// Connections that have not ended, with those that were told to.
    open: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Taken {
    /// In the order of their coming.
    connections: BTreeMap<u64, Connection>,
    peers: HashMap<IpAddr, usize>,
    spare: usize,
    next: u64,
}

#[derive(Debug)]
struct Connection {
    peer: IpAddr,
    spare: bool,
    usage: Arc<Usage>,
}

/// The place of one connection, which is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    number: u64,
    peer: IpAddr,
    spare: bool,
    usage: Arc<Usage>,
    places: Arc<Places>,
}

impl Places {
    pub(crate) fn new(capacity: Capacity) -> Self {
        Self { capacity, taken: Mutex::default(), open: watch::Sender::new(0) }
    }

    /// Finds a place for a connection; `None` when all that it may have are taken by connections with calls.
    pub(crate) fn admit(self: &Arc<Self>, address: SocketAddr) -> Option<Place> {
        let peer = peer_of(address.ip());
        let Capacity { connections, per_peer, spare: spare_places } = self.capacity;
        let mut taken = self.lock();
        let of_peer = taken.peers.get(&peer).copied().unwrap_or(0);
        let in_share = of_peer < per_peer || taken.make_room(1, |connection| connection.peer == peer);
        // Connections that have not greeted come in floods: some go at once, so that not each newcomer looks through all.
        let at_once = connections.div_ceil(64);
        let ordinary = taken.connections.len() - taken.spare;
        let spare = if in_share && (ordinary < connections || taken.make_room(at_once, |connection| !connection.spare))
        {
            false
        } else if taken.spare < spare_places || taken.make_room(1, |connection| connection.spare) {
            true
        } else {
            return None;
        };
        let usage = Arc::new(Usage::default());
        let number = taken.add(Connection { peer, spare, usage: Arc::clone(&usage) });
        drop(taken);
        self.open.send_modify(|open| *open += 1);
        Some(Place { number, peer, spare, usage, places: Arc::clone(self) })
    }

    /// Waits until every connection has ended.
    pub(crate) async fn empty(&self) {
        let mut open = self.open.subscribe();
        // It fails only when these places are gone.
        let _ = open.wait_for(|&open| open == 0).await;
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn add(&mut self, connection: Connection) -> u64 {
        let number = self.next;
        self.next += 1;
        *self.peers.entry(connection.peer).or_insert(0) += 1;
        self.spare += usize::from(connection.spare);
        self.connections.insert(number, connection);
        number
    }

    fn remove(&mut self, number: u64) -> Option<Connection> {
        let connection = self.connections.remove(&number)?;
        self.spare -= usize::from(connection.spare);
        if let Some(count) = self.peers.get_mut(&connection.peer) {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&connection.peer);
            }
        }
        Some(connection)
    }

    /// Ends connections without a call in progress: the oldest that have not greeted, or else the oldest that never had a call, or
    /// else the oldest of the peer that has the most. Returns whether there was one.
    fn make_room(&mut self, at_once: usize, among: impl Fn(&Connection) -> bool) -> bool {
        let idle = |connection: &&Connection| among(connection) && connection.usage.is_idle();
        let Some(stage) = self.connections.values().filter(idle).map(|connection| connection.usage.stage()).min()
        else {
            return false;
        };
        let of_stage =
            self.connections.iter().filter(|(_, connection)| idle(connection) && connection.usage.stage() == stage);
        let leaving: Vec<u64> = if stage == Stage::Called {
            let share = |peer: &IpAddr| self.peers.get(peer).copied().unwrap_or(0);
            // Of equals the first: `max_by_key` takes the last.
            of_stage
                .rev()
                .max_by_key(|(_, connection)| share(&connection.peer))
                .map(|(number, _)| *number)
                .into_iter()
                .collect()
        } else {
            of_stage.take(at_once).map(|(number, _)| *number).collect()
        };
        for number in leaving {
            if let Some(connection) = self.remove(number) {
                connection.usage.end();
            }
        }
        true
    }
}

impl Place {
    /// What the connection does.
    pub(crate) fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// The other end of the connection.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// The number of the connection, which no other one of the listener has.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether the connection came when all places were taken.
    pub(crate) fn is_spare(&self) -> bool {
        self.spare
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(self.number);
        self.places.open.send_modify(|open| *open -= 1);
    }
}

/// The peer that an address belongs to. One machine has a whole /64 network of IPv6.
fn peer_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: usize, per_peer: usize, spare: usize) -> Arc<Places> {
        Arc::new(Places::new(Capacity { connections, per_peer, spare }))
    }

    fn from(peer: u8) -> SocketAddr {
        ([10, 0, 0, peer], 1).into()
    }

    fn with_call(place: &Place) -> super::super::usage::CallGuard {
        place.usage().greet();
        place.usage().begin()
    }

    #[test]
    fn a_newcomer_takes_the_place_of_the_oldest_silent_connection() {
        let places = places(3, 3, 0);
        let held: Vec<Place> = (1..=3).map(|peer| places.admit(from(peer)).unwrap()).collect();
        held[0].usage().greet();
        let newcomer = places.admit(from(4));
        assert!(newcomer.is_some_and(|place| !place.is_spare()));
        let ended: Vec<bool> = held.iter().map(|place| place.usage().has_to_end()).collect();
        assert_eq!(ended, [false, true, false], "the oldest of those that have not greeted");
    }

    #[test]
    fn an_idle_connection_of_the_largest_peer_goes_before_others() {
        let places = places(4, 4, 0);
        let held: Vec<Place> = [1, 2, 2, 2].map(|peer| places.admit(from(peer)).unwrap()).into();
        for place in &held {
            drop(with_call(place));
        }
        let _newcomer = places.admit(from(3)).unwrap();
        let ended: Vec<bool> = held.iter().map(|place| place.usage().has_to_end()).collect();
        assert_eq!(ended, [false, true, false, false]);
    }

    #[test]
    fn connections_with_calls_stay_and_spare_places_are_left() {
        let places = places(2, 2, 1);
        let held = [1, 2].map(|peer| places.admit(from(peer)).unwrap());
        let calls = held.each_ref().map(with_call);
        let spare = places.admit(from(3)).unwrap();
        assert!(spare.is_spare());
        let _call = with_call(&spare);
        assert!(places.admit(from(4)).is_none());
        drop(calls);
        assert!(places.admit(from(4)).is_some_and(|place| !place.is_spare()));
    }

    #[test]
    fn a_peer_has_its_share_and_no_more() {
        let places = places(10, 2, 0);
        let held = [1, 1].map(|peer| places.admit(from(peer)).unwrap());
        let calls = held.each_ref().map(with_call);
        assert!(places.admit(from(1)).is_none());
        assert!(places.admit(from(2)).is_some());
        drop(calls);
        assert!(places.admit(from(1)).is_some(), "in the place of an idle one");
        let of_a_network = |host: u16| SocketAddr::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host).into(), 1);
        let held = [1, 2].map(|host| places.admit(of_a_network(host)).unwrap());
        let _calls = held.each_ref().map(with_call);
        assert!(places.admit(of_a_network(3)).is_none());
    }

    #[tokio::test]
    async fn places_are_empty_when_all_have_ended() {
        let places = places(2, 2, 0);
        places.empty().await;
        let place = places.admit(from(1)).unwrap();
        let waiting = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.empty().await }
        });
        drop(place);
        waiting.await.unwrap();
    }
}
