//! What an attacker or a broken client does to a server, and that others do not suffer from it.

mod admission;
mod connections;
mod descriptors;
mod disk;
mod frames;
mod readers;
mod streams;
