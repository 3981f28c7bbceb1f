//! What fuzzing calls: one function for each parser of bytes from outside. Each takes any bytes, and panics where the parser breaks
//! one of its promises.

pub use crate::{
    bus::codec::fuzzing::bus_message,
    l2::{codec::fuzzing::frame, lease::fuzzing::lease},
    peers::codec::fuzzing::peer_message,
    validity::pattern::fuzzing::glob,
};
