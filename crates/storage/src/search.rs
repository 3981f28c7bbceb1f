//! The words of a query, cut and folded as the databases cut and fold the text of a product.
//!
//! The databases do that in SQL, since shells that know nothing of this crate write rows, too. Queries go by the table that the
//! migration of SQLite holds. A test compares both databases with this module over all of Unicode.

use std::{ops::RangeInclusive, sync::LazyLock};

/// The words of a query that are looked for; those that come after are left out.
const MOST_WORDS: usize = 64;
/// And no more than this many bytes of them: they name the copy of a page.
const MOST_BYTES: usize = 2_048;
/// The characters of a word that are looked for, which are also those that PostgreSQL keeps.
const MOST_OF_A_WORD: usize = 128;
/// More words than this are a pasted text, in which some may be wrong.
const MOST_TYPED: usize = 8;
/// Of how many groups of the words of a pasted text a product must have one each.
const GROUPS: usize = 3;

/// Scripts that put no spaces between words: Thai and Lao, Burmese, Khmer, Tai Le and New Tai Lue, Tai Tham, Balinese, the radicals,
/// marks, kana, Bopomofo and ideographs of Chinese and Japanese, Javanese, more of Burmese with Tai Viet, compatibility
/// ideographs, Ahom, old kana, and the ideographs of two whole planes.
const SPACELESS: [RangeInclusive<char>; 21] = [
    '\u{e00}'..='\u{eff}',
    '\u{1000}'..='\u{109f}',
    '\u{1780}'..='\u{17ff}',
    '\u{1950}'..='\u{19ff}',
    '\u{1a20}'..='\u{1aaf}',
    '\u{1b00}'..='\u{1b7f}',
    '\u{2e80}'..='\u{2fdf}',
    '\u{3005}'..='\u{3007}',
    '\u{3021}'..='\u{3029}',
    '\u{3031}'..='\u{303c}',
    '\u{3041}'..='\u{312f}',
    '\u{31a0}'..='\u{31bf}',
    '\u{31f0}'..='\u{31ff}',
    '\u{3400}'..='\u{4dbf}',
    '\u{4e00}'..='\u{9fff}',
    '\u{a980}'..='\u{a9ff}',
    '\u{aa60}'..='\u{aadf}',
    '\u{f900}'..='\u{faff}',
    '\u{11700}'..='\u{1174f}',
    '\u{1aff0}'..='\u{1b16f}',
    '\u{20000}'..='\u{3fffd}',
];

/// The words of a query, folded, none twice. A word is a run of letters, digits and vowel signs, or two neighbours of a script that
/// puts no spaces between words (or one, where it stands alone).
pub fn words(query: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut left = MOST_BYTES;
    for word in cut(&fold(query)) {
        if words.len() == MOST_WORDS || word.len() > left {
            break;
        }
        if !words.contains(&word) {
            left -= word.len();
            words.push(word);
        }
    }
    words
}

/// What to look for, in the language of a full text.
pub(crate) struct Terms {
    /// Every word, at least as the beginning of a longer one.
    pub(crate) all: String,
    /// For a pasted text, when no product has all: most of its words.
    pub(crate) most: Option<String>,
    /// Any of the words, to rank by.
    pub(crate) any: String,
}

impl Terms {
    /// Of words as [`words`] returns them: `term` makes a term of one, and the others are operators.
    pub(crate) fn new(words: &[String], term: impl Fn(&str) -> String, and: &str, or: &str) -> Self {
        let terms: Vec<String> = words.iter().map(|word| term(word)).collect();
        let most = (words.len() > MOST_TYPED).then(|| {
            // A long word tells more than a short one, so that each group gets of both.
            let mut order: Vec<usize> = (0..words.len()).collect();
            order.sort_by_key(|&index| std::cmp::Reverse(words[index].chars().count()));
            let mut groups = vec![Vec::new(); GROUPS];
            for (place, index) in order.into_iter().enumerate() {
                groups[place % GROUPS].push(terms[index].as_str());
            }
            let groups: Vec<String> = groups.iter().map(|group| format!("({})", group.join(or))).collect();
            groups.join(and)
        });
        Self { all: terms.join(and), most, any: terms.join(or) }
    }
}

/// Cuts folded text.
fn cut(folded: &str) -> Vec<String> {
    let mut words = Vec::new();
    for text in folded.split(' ') {
        let characters: Vec<char> = text.chars().collect();
        for run in characters.chunk_by(|&a, &b| spaceless(a) == spaceless(b)) {
            match run {
                [first, _, ..] if spaceless(*first) => words.extend(run.windows(2).map(String::from_iter)),
                _ => words.push(run.iter().take(MOST_OF_A_WORD).collect()),
            }
        }
    }
    words
}

fn spaceless(c: char) -> bool {
    SPACELESS.iter().any(|range| range.contains(&c))
}

/// Folds a text: letters without case and accents, and a space for whatever is no letter, digit or vowel sign.
fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '0'..='9' | 'a'..='z' | 'A'..='Z' => folded.push(c.to_ascii_lowercase()),
            '\0'..='\x7f' => folded.push(' '),
            '가'..='힣' => fold_hangul(u32::from(c) - u32::from('가'), &mut folded),
            _ => fold_by_table(c, &mut folded),
        }
    }
    folded
}

/// Takes a syllable into its two or three letters: see section 3.12 of the Unicode Standard.
fn fold_hangul(syllable: u32, into: &mut String) {
    let last = syllable % 28;
    let letters =
        [Some(0x1100 + syllable / 588), Some(0x1161 + syllable % 588 / 28), (last > 0).then_some(0x11a7 + last)];
    into.extend(letters.into_iter().flatten().filter_map(char::from_u32));
}

fn fold_by_table(c: char, into: &mut String) {
    let code = u32::from(c);
    let after = FOLDS.partition_point(|row| row.first <= code);
    match after.checked_sub(1).map(|index| &FOLDS[index]) {
        Some(row) if code <= row.last && row.rising => {
            let first = row.fold.chars().next().map_or(code, u32::from);
            into.extend(char::from_u32(first + code - row.first));
        }
        Some(row) if code <= row.last => into.push_str(row.fold),
        _ => into.push(c),
    }
}

/// What some characters fold to: all the same, or, rising, each to the one after that of the character before.
struct Row {
    first: u32,
    last: u32,
    fold: &'static str,
    rising: bool,
}

static FOLDS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let migration = include_str!("../migrations/sqlite/0002_search.sql");
    let (_, rows) =
        migration.split_once("INSERT INTO search_folds (first, last, fold, rising) VALUES\n").unwrap_or_default();
    let (rows, _) = rows.split_once(';').unwrap_or_default();
    rows.split('(').filter_map(row).collect()
});

/// Reads `192,197,'a',0),`.
fn row(text: &'static str) -> Option<Row> {
    let mut parts = text.split([',', ')']);
    let (first, last, fold, rising) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(Row {
        first: first.parse().ok()?,
        last: last.parse().ok()?,
        fold: fold.strip_prefix('\'')?.strip_suffix('\'')?,
        rising: rising == "1",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_is_read() {
        assert_eq!(FOLDS.len(), 4_310);
        assert!(FOLDS.windows(2).all(|rows| rows[0].first <= rows[0].last && rows[0].last < rows[1].first));
    }

    /// Against the standard library's reading of Unicode.
    #[test]
    fn folding_agrees_with_unicode() {
        let fold = |c: char| fold(&c.to_string());
        let mut spaces = Vec::new();
        for c in '\0'..=char::MAX {
            assert_eq!(super::fold(&fold(c)), fold(c), "{c:?} is folded at once");
            if c.is_whitespace() || c.is_control() {
                assert!(["", " "].contains(&fold(c).as_str()), "{c:?}");
            }
            if c.is_alphanumeric() && fold(c).trim().is_empty() && !fold(c).is_empty() {
                spaces.push(c);
            }
            // ŉ begins with an apostrophe; what some Greek letters have below becomes a letter beside capitals.
            if c != 'ŉ' && c != '\u{345}' && !matches!(c, '\u{1f80}'..='\u{1fff}') {
                assert_eq!(super::fold(&c.to_lowercase().to_string()), fold(c), "{c:?} and its small letter");
                assert_eq!(super::fold(&c.to_uppercase().to_string()), fold(c), "{c:?} and its capital");
            }
        }
        // Apostrophes of letters; ligatures of accents alone, letters in boxes, and letters younger than the table that decompose.
        spaces.retain(|c| !matches!(c, '\u{2b9}'..='\u{2bf}' | '\u{374}' | '\u{37a}'));
        assert!(spaces.iter().all(|&c| c >= '\u{a7f1}') && spaces.len() < 250, "{spaces:?}");
    }

    #[test]
    fn queries_are_cut_and_folded() {
        for (query, expected) in [
            ("Crème  BRÛLÉE, creme", vec!["creme", "brulee"]),
            ("cre\u{300}me", vec!["creme"]),
            ("ΟΔΟΣ οδος", vec!["οδοσ"]),
            ("İstanbul IŞIK ışık", vec!["istanbul", "isik"]),
            ("Straße SMØRREBRØD Łódź œuf", vec!["strasse", "smorrebrod", "lodz", "oeuf"]),
            ("usb-c 3.5", vec!["usb", "c", "3", "5"]),
            ("手机", vec!["手机"]),
            ("手", vec!["手"]),
            ("x手机壳5", vec!["x", "手机", "机壳", "5"]),
            ("हिन्दी", vec!["हिन्दी"]),
            ("한", vec!["\u{1112}\u{1161}\u{11ab}"]),
            ("ガ", vec!["カ\u{3099}"]),
            ("½ Ⅷ ４", vec!["1", "2", "viii", "4"]),
            ("می\u{200c}خواهم", vec!["میخواهم"]),
            ("-- \u{1f600} ™ \u{301}", vec![]),
        ] {
            assert_eq!(words(query), expected, "{query}");
        }
    }

    #[test]
    fn words_are_limited() {
        let many: Vec<String> = (0..200).map(|number| format!("w{number}")).collect();
        assert_eq!(words(&many.join(" ")).len(), MOST_WORDS);
        assert_eq!(words(&"x".repeat(500)), ["x".repeat(MOST_OF_A_WORD)]);
        let long: Vec<String> = (0..60).map(|number| format!("{number}{}", "한".repeat(200))).collect();
        assert!(words(&long.join(" ")).iter().map(String::len).sum::<usize>() <= MOST_BYTES);
    }

    #[test]
    fn only_a_pasted_text_may_lack_words() {
        let terms = |count: usize| {
            let words: Vec<String> = (0..count).map(|number| format!("{number}{}", "x".repeat(number))).collect();
            Terms::new(&words, str::to_owned, "&", "|")
        };
        assert_eq!(terms(2).all, "0&1x");
        assert!(terms(MOST_TYPED).most.is_none());
        let most = terms(9).most.unwrap();
        assert_eq!(most.split('&').map(|group| group.split('|').count()).collect::<Vec<_>>(), [3, 3, 3], "{most}");
    }
}
