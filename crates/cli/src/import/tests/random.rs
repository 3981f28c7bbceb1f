//! Random tables and documents, and damaged ones.

use super::*;

/// Whole rows stay whole, whatever breaks the others, and every line is told of once.
#[test]
fn no_row_is_lost_in_silence() {
    let mut rng = SmallRng::seed_from_u64(11);
    for separator in [",", ";", "\t"] {
        for _ in 0..400 {
            let end = ["\n", "\r\n", "\r"][rng.random_range(0..3)];
            let columns = ["id", "name", "description", "tags", "image_url"];
            let mut text = columns.join(separator) + end;
            let (mut good, mut line) = (Vec::new(), 2);
            for number in 0..rng.random_range(1..40) {
                let id = format!("good-{number}");
                let row = match rng.random_range(0..12) {
                    0 => ["x", "\"X", "", "", ""].join(separator),
                    1 => ["x", "\"X\" y", "", "", ""].join(separator),
                    2 => ["x", "X", ""].join(separator),
                    3 => ["x", "X", "", "", "", "y"].join(separator),
                    4 => [id.as_str(), &format!("\"1{end}2{end}{end}3\""), "\"a \"\"b\"\"\"", "", ""].join(separator),
                    5 => [id.as_str(), "12\" pipe", "", "", ""].join(separator),
                    _ => [id.as_str(), "Plain", "text", "", ""].join(separator),
                };
                if row.starts_with("good") {
                    good.push((line, id));
                }
                line += row.matches(end).count() as u64 + 1;
                text += &(row + end);
            }
            let (records, _) = read_with(text.as_bytes(), Format::Csv, &CsvArgs::default(), 1).unwrap();
            let mut next = 2;
            for record in &records {
                assert_eq!(record.line, next, "{text}");
                next = record.last_line + 1;
            }
            assert_eq!(next, line, "{text}");
            let read: Vec<(u64, String)> = told(records)
                .into_iter()
                .filter_map(|(line, id)| Some((line, id.ok().filter(|id| id.starts_with("good"))?)))
                .collect();
            assert_eq!(read, good, "{text}");
        }
    }
}

#[test]
fn no_object_is_lost_in_silence() {
    let mut rng = SmallRng::seed_from_u64(12);
    for _ in 0..1_000 {
        let array = rng.random_bool(0.5);
        let (mut parts, mut good) = (Vec::new(), Vec::new());
        for number in 0..rng.random_range(1..30) {
            let part = match rng.random_range(0..10) {
                0 => "{\n \"id\": \"x\n}".to_owned(),
                1 => "{\n \"id\": \"x\"".to_owned(),
                2 => "{\n \"id\": [\"x\"}\n}".to_owned(),
                3 => "{\"name\":\"5\" y\"}".to_owned(),
                4 => "{\"title\":17}".to_owned(),
                kind => {
                    good.push(format!("good-{number}"));
                    let gap = if kind < 7 { "\n  " } else { "" };
                    format!("{{{gap}\"id\":{gap}\"good-{number}\",\"name\":\"}}{{,[\\\"\"{}}}", gap.trim_end())
                }
            };
            parts.push(part);
        }
        let text = if array { format!("[\n{}\n]", parts.join(",\n")) } else { parts.join("\n") };
        let count = parts.len();
        let read = json(&text);
        let ids: Vec<String> = read.iter().filter_map(|read| read.1.clone().ok()).collect();
        assert_eq!(ids, good, "{text}");
        assert!(read.len() >= count, "{text}: {read:?}");
    }
}

#[test]
fn no_bytes_make_a_panic() {
    let mut rng = SmallRng::seed_from_u64(13);
    let pieces: [&[u8]; 24] = [
        b"\"",
        b",",
        b"\n",
        b"\r",
        b"\r\n",
        b";",
        b"\t",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"\\",
        b"a",
        b"id",
        b"name",
        b" ",
        b"\xff",
        b"\0",
        b"\"products\":[",
        b"\"id\":\"a\"",
        b"sep=;",
        b"\xef\xbb\xbf",
        "茶".as_bytes(),
    ];
    for round in 0..2_000 {
        let mut text = if round % 2 == 0 { b"id,name\n".to_vec() } else { Vec::new() };
        for _ in 0..rng.random_range(0..60) {
            text.extend_from_slice(pieces[rng.random_range(0..pieces.len())]);
        }
        for format in [Format::Csv, Format::Jsonl] {
            if let Ok((records, _)) = read_with(&text, format, &euros(), 1) {
                assert!(records.is_sorted_by_key(|record| record.line) && records.len() <= text.len());
                assert!(records.iter().all(|record| record.end <= text.len() as u64));
            }
        }
    }
}
