//! Import in bounded memory.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

use super::*;

/// An array of indented products that is nowhere whole, and how much of it has been read.
struct Endless {
    next: usize,
    count: usize,
    left: Vec<u8>,
    read: Rc<Cell<u64>>,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.is_empty() && self.next <= self.count {
            let (id, text) = (self.next, "Like the others. ".repeat(8));
            self.left = match id {
                0 => b"[".to_vec(),
                id if id == self.count => b"\n]\n".to_vec(),
                id => format!(
                    "\n  {{\n    \"id\": \"p{id}\",\n    \"name\": \"P\",\n    \"description\": \"{text}\"\n  }},"
                )
                .into_bytes(),
            };
            self.next += 1;
        }
        let count = self.left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.left[..count]);
        self.left.drain(..count);
        self.read.set(self.read.get() + count as u64);
        Ok(count)
    }
}

#[test]
fn an_array_is_not_read_further_than_its_next_product() {
    let read = Rc::new(Cell::new(0));
    let file = Endless { next: 0, count: 100_001, left: Vec::new(), read: Rc::clone(&read) };
    let text = encoding::text(file).unwrap();
    let mut records = Records::open(text, Format::Jsonl, 1, &CsvArgs::default()).unwrap();
    let mut count = 0;
    while let Some(record) = records.next().unwrap() {
        count += 1;
        assert_eq!(record.line, 2 + (count - 1) * 5);
        assert_eq!(record.product.unwrap().id, format!("p{count}"));
        let ahead = read.get() - record.end;
        assert!(record.raw.capacity() < 8 << 10 && ahead < 1 << 10, "{ahead} bytes ahead at {}", record.end);
    }
    assert_eq!(count, 100_000);
}
