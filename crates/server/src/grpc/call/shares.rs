//! Places for calls that take long, so that one client does not take them all.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Places for streams of one method. One peer address may take three quarters of them.
#[derive(Debug, Clone)]
pub(in crate::grpc) struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    peers: HashMap<IpAddr, usize>,
}

/// A place, which is free again when this is dropped.
#[derive(Debug)]
pub(in crate::grpc) struct Share {
    peer: IpAddr,
    shares: Arc<Inner>,
}

impl Shares {
    pub(in crate::grpc) fn new(total: usize) -> Self {
        Self(Arc::new(Inner { total, taken: Mutex::default() }))
    }

    /// Takes a place; `None` when there is none for this peer.
    pub(in crate::grpc) fn take(&self, peer: IpAddr) -> Option<Share> {
        let Inner { total, taken } = &*self.0;
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = taken.peers.get(&peer).copied().unwrap_or(0);
        if taken.all >= *total || of_peer >= (total * 3).div_ceil(4) {
            return None;
        }
        taken.all += 1;
        taken.peers.insert(peer, of_peer + 1);
        Some(Share { peer, shares: Arc::clone(&self.0) })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(of_peer) = taken.peers.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                taken.peers.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_leaves_places_for_others() {
        let shares = Shares::new(8);
        let [one, other] = [1, 2].map(|host| IpAddr::from([10, 0, 0, host]));
        let held: Vec<_> = std::iter::from_fn(|| shares.take(one)).collect();
        assert_eq!(held.len(), 6);
        let others: Vec<_> = std::iter::from_fn(|| shares.take(other)).collect();
        assert_eq!(others.len(), 2);
        drop(held);
        assert!(shares.take(one).is_some());
        assert!(Shares::new(1).take(one).is_some());
    }
}
