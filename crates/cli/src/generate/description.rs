//! Descriptions put together from sentences that suit any product.

use std::fmt::Write as _;

use super::{
    draw::Draw,
    phrases::{OPENINGS, SECTIONS},
};

/// What a product is, before it is put into words.
pub(super) struct Subject {
    /// In the singular, small letters.
    pub(super) noun: &'static str,
    pub(super) adjective: &'static str,
    pub(super) material: &'static str,
    pub(super) colour: &'static str,
    /// What stands after "for".
    pub(super) purpose: &'static str,
    pub(super) maker: &'static str,
    pub(super) place: &'static str,
    pub(super) grams: u32,
    /// Width, depth and height.
    pub(super) size_cm: [u32; 3],
    pub(super) warranty_years: u32,
}

/// An opening and as many sentences as reach a drawn length, at most two from each section.
pub(super) fn description(draw: &mut Draw, subject: &Subject) -> String {
    // The product of two uniform numbers: the shorter, the more frequent.
    let enough = 300 + (draw.below(1_000) * draw.below(1_000) / 1_000) as usize;
    let mut order: [usize; SECTIONS.len()] = std::array::from_fn(|section| section);
    let mut sentences = SECTIONS.map(|_| 0);
    for (place, sentence) in sentences.iter_mut().enumerate() {
        order.swap(place, place + draw.index(SECTIONS.len() - place));
        *sentence = draw.index(SECTIONS[place].len());
    }
    let paragraph_after = 2 + draw.below(4) as usize;

    let mut text = String::with_capacity(enough + 200);
    push_sentence(&mut text, draw.pick(&OPENINGS), subject);
    for step in 0..2 * SECTIONS.len() {
        if text.len() >= enough {
            break;
        }
        text.push_str(if step == paragraph_after { "\n\n" } else { " " });
        let section = order[step % SECTIONS.len()];
        let another = step / SECTIONS.len() * 3;
        let sentence = (sentences[section] + another) % SECTIONS[section].len();
        push_sentence(&mut text, SECTIONS[section][sentence], subject);
    }
    text
}

/// Appends a sentence with its marks replaced; [`SECTIONS`] says what they mean.
fn push_sentence(out: &mut String, pattern: &str, subject: &Subject) {
    let mut parts = pattern.split('%');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        match part.as_bytes().first() {
            Some(b'n') => out.push_str(subject.noun),
            Some(b't') => push_all(out, &[article(subject.noun), " ", subject.noun]),
            Some(b'T') => push_all(out, &["A", &article(subject.noun)[1..], " ", subject.noun]),
            Some(b'a') => out.push_str(subject.adjective),
            Some(b'm') => out.push_str(subject.material),
            Some(b'c') => out.push_str(subject.colour),
            Some(b'u') => out.push_str(subject.purpose),
            Some(b'b') => out.push_str(subject.maker),
            Some(b'p') => out.push_str(subject.place),
            Some(b'd') => push_size(out, subject.size_cm),
            Some(b'w') => push_weight(out, subject.grams),
            Some(b'y') => push_number(out, subject.warranty_years),
            _ => debug_assert!(false, "an unknown mark in {pattern:?}"),
        }
        out.push_str(part.get(1..).unwrap_or_default());
    }
}

fn push_all(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) && !noun.starts_with("uk") { "an" } else { "a" }
}

fn push_size(out: &mut String, [width, depth, height]: [u32; 3]) {
    push_number(out, width);
    out.push_str(" × ");
    push_number(out, depth);
    out.push_str(" × ");
    push_number(out, height);
}

fn push_weight(out: &mut String, grams: u32) {
    if grams < 1_000 {
        push_number(out, grams);
        out.push_str(" g");
    } else {
        push_number(out, grams / 1_000);
        out.push('.');
        push_number(out, grams % 1_000 / 100);
        out.push_str(" kg");
    }
}

fn push_number(out: &mut String, number: u32) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{number}");
}
