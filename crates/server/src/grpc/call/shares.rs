//! Places for calls, so that one caller does not take them all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::caller::CallerKey;

/// Places for calls of one kind, of which one caller may take a part.
#[derive(Debug, Clone)]
pub(in crate::grpc) struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: usize,
    of_caller: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    callers: HashMap<CallerKey, usize>,
}

/// A place, which is free again when this is dropped.
#[derive(Debug)]
pub(in crate::grpc) struct Share {
    caller: CallerKey,
    shares: Arc<Inner>,
}

impl Shares {
    /// Places of which one caller may take three quarters.
    pub(in crate::grpc) fn new(total: usize) -> Self {
        Self::with(total, three_quarters(total))
    }

    /// Places of which one caller may take so many.
    pub(super) fn with(total: usize, of_caller: usize) -> Self {
        Self(Arc::new(Inner { total, of_caller, taken: Mutex::default() }))
    }

    /// Takes a place; `None` when there is none for this caller.
    pub(in crate::grpc) fn take(&self, caller: CallerKey) -> Option<Share> {
        let Inner { total, of_caller, taken } = &*self.0;
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let already = taken.callers.get(&caller).copied().unwrap_or(0);
        if taken.all >= *total || already >= *of_caller {
            return None;
        }
        taken.all += 1;
        taken.callers.insert(caller.clone(), already + 1);
        Some(Share { caller, shares: Arc::clone(&self.0) })
    }
}

/// The part of the places that one caller may have: a proxy may stand for all clients, and one broken client must not.
fn three_quarters(places: usize) -> usize {
    (places * 3).div_ceil(4)
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(of_caller) = taken.callers.get_mut(&self.caller) {
            *of_caller -= 1;
            if *of_caller == 0 {
                taken.callers.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_leaves_places_for_others() {
        let shares = Shares::new(8);
        let [one, other] = [1, 2].map(|host| CallerKey::Address([10, 0, 0, host].into()));
        let held: Vec<_> = std::iter::from_fn(|| shares.take(one.clone())).collect();
        assert_eq!(held.len(), 6);
        let others: Vec<_> = std::iter::from_fn(|| shares.take(other.clone())).collect();
        assert_eq!(others.len(), 2);
        drop(held);
        assert!(shares.take(one.clone()).is_some());
        assert!(Shares::new(1).take(one).is_some());
    }
}
