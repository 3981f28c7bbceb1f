//! A catalogue of any size, the same for the same seed.
//!
//! Product *i* of a seed depends on nothing but the two, so a run can be cut short, continued or split between
//! machines. Only integers are used, and the random numbers are our own rather than a crate's, because a seed written
//! down in a benchmark should mean the same products on every platform and for years.

use std::collections::BTreeMap;

use larder_proto::{catalog::Product, google::r#type::Money};

use super::{
    description::{Subject, description},
    draw::{Draw, GOLDEN_GAMMA, mix},
    phrases::{ADJECTIVES, CARE, COLOURS, MAKERS, PLACES, TAG_PREFIXES, TAGS},
    words::{DEPARTMENTS, Department, KINDS_PER_DEPARTMENT, Kind},
};

/// Makes the products 0 to `count` of a seed.
///
/// Ids and names are distinct within a seed, by construction. An encoded product has some 900 bytes. Categories follow
/// Zipf's law, prices are roughly log-normal, and 92 in 100 products are in stock.
pub fn generate(seed: u64, count: u64) -> impl Iterator<Item = Product> {
    (0..count).map(move |index| product(seed, index))
}

/// Every hundred products has this many in stock.
const IN_STOCK_PERCENT: u32 = 92;

fn product(seed: u64, index: u64) -> Product {
    let mut draw = Draw::new(seed, index);
    let (department, kind) = draw_kind(&mut draw);
    let subject = Subject {
        noun: draw.pick(&kind.nouns),
        adjective: draw.pick(&ADJECTIVES),
        material: draw.pick(department.materials),
        colour: draw.pick(&COLOURS),
        purpose: draw.pick(department.uses),
        maker: draw.pick(&MAKERS),
        place: draw.pick(&PLACES),
        grams: draw_grams(&mut draw, kind),
        size_cm: draw_size(&mut draw, kind),
        warranty_years: draw.pick(&[2, 2, 3, 3, 5, 5, 10, 15]),
    };
    let model = model(seed, index);
    let id = id(seed, index);
    Product {
        name: name(&subject, &model),
        description: description(&mut draw, &subject),
        price: Some(draw_price(&mut draw, kind)),
        categories: draw_categories(&mut draw, department, kind),
        tags: draw_tags(&mut draw, department),
        attributes: draw_attributes(&mut draw, &subject, model),
        image_url: format!("https://images.example.com/{id}.jpg"),
        in_stock: draw.below(100) < IN_STOCK_PERCENT,
        create_time: None,
        update_time: None,
        etag: String::new(),
        id,
    }
}

/// `p-` and thirteen digits of Crockford's base 32, which has no letters that look like digits.
///
/// [`mix`] is a bijection, so no two indices of a seed have the same id.
fn id(seed: u64, index: u64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let number = mix(index.wrapping_add(mix(seed ^ GOLDEN_GAMMA)));
    let mut id = String::with_capacity(15);
    id.push_str("p-");
    for digit in (0..13).rev() {
        id.push(char::from(DIGITS[((number >> (5 * digit)) & 31) as usize]));
    }
    id
}

/// A model number such as `KT 4821`, distinct within a seed; past 5.76 million products a generation follows it, as in
/// `KT 4821-2`.
///
/// The index is permuted by an affine map: the multiplier has no factor in common with the number of models.
fn model(seed: u64, index: u64) -> String {
    const LETTERS: &[u8; 24] = b"ABCDEFGHJKLMNPQRSTUVWXYZ";
    const MODELS: u64 = 24 * 24 * 10_000;
    const MULTIPLIER: u64 = 2_198_771;
    let number = ((index % MODELS) * MULTIPLIER + mix(seed ^ GOLDEN_GAMMA) % MODELS) % MODELS;
    let generation = index / MODELS + 1;
    let first = char::from(LETTERS[(number % 24) as usize]);
    let second = char::from(LETTERS[(number / 24 % 24) as usize]);
    let digits = number / (24 * 24);
    if generation == 1 {
        format!("{first}{second} {digits:04}")
    } else {
        format!("{first}{second} {digits:04}-{generation}")
    }
}

fn name(subject: &Subject, model: &str) -> String {
    let mut name = String::with_capacity(64);
    for part in [subject.adjective, subject.material, subject.noun] {
        push_title(&mut name, part);
        name.push(' ');
    }
    name.push_str(model);
    name
}

/// Appends words with a capital letter each.
fn push_title(out: &mut String, words: &str) {
    let mut start = true;
    for letter in words.chars() {
        out.push(if start { letter.to_ascii_uppercase() } else { letter });
        start = letter == ' ';
    }
}

/// Draws a kind; the chance of the one in place *k*, counted from 0, is in proportion to 1/(*k* + 3), the law of Zipf
/// and Mandelbrot. Each department has one of the first twenty places, one of the next twenty, and so on.
fn draw_kind(draw: &mut Draw) -> (&'static Department, &'static Kind) {
    const KINDS: usize = DEPARTMENTS.len() * KINDS_PER_DEPARTMENT;
    const CUMULATIVE: [u32; KINDS] = {
        let mut cumulative = [0; KINDS];
        let (mut place, mut divisor, mut sum) = (0, 3, 0);
        while place < KINDS {
            sum += 1_000_000 / divisor;
            cumulative[place] = sum;
            place += 1;
            divisor += 1;
        }
        cumulative
    };
    let drawn = draw.below(CUMULATIVE[KINDS - 1]);
    let place = CUMULATIVE.partition_point(|&sum| sum <= drawn);
    let department = &DEPARTMENTS[place % DEPARTMENTS.len()];
    (department, &department.kinds[place / DEPARTMENTS.len()])
}

fn draw_grams(draw: &mut Draw, kind: &Kind) -> u32 {
    let grams = kind.grams * (60 + draw.below(100)) / 100;
    match grams {
        0..100 => grams,
        100..1_000 => grams / 5 * 5,
        _ => grams / 50 * 50,
    }
}

fn draw_size(draw: &mut Draw, kind: &Kind) -> [u32; 3] {
    // The side of a cube that has a sixteenth of the density of water.
    let side = (1..=100).find(|side| side * side * side >= kind.grams * 16).unwrap_or(100);
    [(110, 140), (55, 70), (50, 130)].map(|(least, spread)| (side * (least + draw.below(spread)) / 100).max(1))
}

/// Draws a price around the kind's median: the product of three factors that are log-uniform is close to log-normal.
fn draw_price(draw: &mut Draw, kind: &Kind) -> Money {
    /// Sixteen powers from 5/8 to 8/5, in thousandths.
    const FACTORS: [u64; 16] =
        [625, 665, 709, 754, 803, 855, 910, 969, 1_032, 1_099, 1_170, 1_246, 1_326, 1_412, 1_503, 1_600];
    /// Currency, its share in a hundred, and a thousand euros in it.
    const CURRENCIES: [(&str, u32, u64); 9] = [
        ("EUR", 38, 1_000),
        ("USD", 24, 1_100),
        ("GBP", 12, 860),
        ("CHF", 7, 950),
        ("JPY", 6, 165_000),
        ("SEK", 5, 11_300),
        ("PLN", 4, 4_300),
        ("DKK", 2, 7_460),
        ("CAD", 2, 1_500),
    ];
    let mut share = draw.below(100);
    let (currency, _, rate) = *CURRENCIES
        .iter()
        .find(|(_, percent, _)| {
            let found = share < *percent;
            share = share.wrapping_sub(*percent);
            found
        })
        .unwrap_or(&CURRENCIES[0]);
    let mut amount = u64::from(kind.euros) * rate;
    for _ in 0..3 {
        amount = amount * draw.pick(&FACTORS) / 1_000;
    }
    let whole = amount / 1_000;
    let (units, cents) = match currency {
        "JPY" => (whole / 100 * 100 + draw.pick(&[0, 0, 50, 80, 80]), 0),
        "SEK" | "DKK" => (whole / 10 * 10 + draw.pick(&[5, 9, 9, 9]), 0),
        _ if whole >= 200 => (whole / 10 * 10 + draw.pick(&[0, 5, 9, 9, 9]), 0),
        "CHF" => (whole, draw.pick(&[0, 50, 90, 90, 95])),
        _ => (whole, draw.pick(&[0, 50, 90, 95, 95, 99, 99, 99, 99, 99])),
    };
    Money { currency_code: currency.to_owned(), units: units.max(1).cast_signed(), nanos: cents * 10_000_000 }
}

/// The department, the kind and, for one product in four, a second kind.
fn draw_categories(draw: &mut Draw, department: &Department, kind: &Kind) -> Vec<String> {
    let mut categories = vec![department.name.to_owned(), kind.category.to_owned()];
    if draw.below(4) == 0 {
        push_new(&mut categories, draw.pick_ref(&department.kinds).category.to_owned());
    }
    categories
}

/// Two to six tags of a thousand, half of them about the department.
fn draw_tags(draw: &mut Draw, department: &Department) -> Vec<String> {
    let mut tags = vec![draw.pick(&TAGS).to_owned(), draw_topic(draw, department)];
    for _ in 0..draw.below(5) {
        let tag = match draw.below(2) {
            0 => draw.pick(&TAGS).to_owned(),
            _ => draw_topic(draw, department),
        };
        push_new(&mut tags, tag);
    }
    tags
}

fn draw_topic(draw: &mut Draw, department: &Department) -> String {
    let (prefix, topic) = (draw.pick(&TAG_PREFIXES), draw.pick(&department.topics));
    format!("{prefix}-{topic}")
}

fn push_new(list: &mut Vec<String>, item: String) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// Five attributes that every product has and up to four more.
fn draw_attributes(draw: &mut Draw, subject: &Subject, model: String) -> BTreeMap<String, String> {
    let [width, depth, height] = subject.size_cm;
    let mut attributes = vec![
        ("brand", subject.maker.to_owned()),
        ("colour", subject.colour.to_owned()),
        ("dimensions_cm", format!("{width} x {depth} x {height}")),
        ("material", subject.material.to_owned()),
        ("weight_g", subject.grams.to_string()),
    ];
    if draw.below(10) < 7 {
        attributes.push(("model", model));
    }
    if draw.below(2) == 0 {
        attributes.push(("warranty_years", subject.warranty_years.to_string()));
    }
    if draw.below(2) == 0 {
        attributes.push(("made_in", subject.place.to_owned()));
    }
    if draw.below(3) == 0 {
        attributes.push(("care", draw.pick(&CARE).to_owned()));
    }
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, HashSet};

    use super::*;

    #[test]
    fn a_seed_always_means_the_same_products() {
        let first = generate(1, 1).next().unwrap();
        assert_eq!(first.id, "p-48m0rwc2r22vr");
        assert_eq!(first.name, "Flat Willow Dog Collar JK 2437");
        let hash = generate(1, 1_000).fold(0xcbf2_9ce4_8422_2325, |hash, product| fnv1a(hash, &product));
        assert_eq!(hash, 0x3455_2d1a_86ac_0a6e, "{hash:#x}: seeds would no longer mean what they meant");
    }

    #[test]
    fn a_product_depends_on_its_place_and_the_seed_alone() {
        assert!(generate(7, 50).eq(generate(7, 80).take(50)));
        assert!(generate(7, 80).skip(50).eq((50..80).map(|index| product(7, index))));
    }

    #[test]
    fn seeds_differ() {
        let ids: BTreeSet<_> = generate(1, 1_000).map(|product| product.id).collect();
        assert!(generate(2, 1_000).all(|product| !ids.contains(&product.id)));
    }

    #[test]
    fn ids_and_names_are_distinct() {
        let (mut ids, mut names) = (HashSet::new(), HashSet::new());
        for index in 0..200_000 {
            assert!(ids.insert(id(3, index)), "id of {index}");
            assert!(names.insert(model(3, index)), "model of {index}");
        }
        assert_ne!(model(3, 0), model(3, 5_760_000));
        assert_eq!(model(3, 5_760_000), format!("{}-2", model(3, 0)));
    }

    #[test]
    fn products_keep_to_the_contract() {
        for product in generate(4, 20_000) {
            let id = &product.id;
            assert_eq!(id.len(), 15);
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{id}");
            assert!((1..=512).contains(&product.name.len()), "{id}");
            assert!((300..=1_500).contains(&product.description.len()), "{id}: {}", product.description.len());
            assert!(!product.description.contains('%'), "{id}");
            assert!(product.image_url.len() <= 2_048, "{id}");
            assert!((2..=4).contains(&product.categories.len()), "{id}");
            assert!((2..=6).contains(&product.tags.len()), "{id}");
            assert_eq!(distinct(&product.categories), product.categories.len(), "{id}");
            assert_eq!(distinct(&product.tags), product.tags.len(), "{id}");
            assert!((5..=9).contains(&product.attributes.len()), "{id}");
            let price = product.price.unwrap();
            assert_eq!(price.currency_code.len(), 3, "{id}");
            assert!(price.units > 0 && (0..1_000_000_000).contains(&price.nanos), "{id}");
            assert!(price.currency_code != "JPY" || price.nanos == 0, "{id}");
        }
    }

    #[test]
    fn distributions_are_those_of_a_shop() {
        let (mut categories, mut tags) = (BTreeMap::<String, u32>::new(), BTreeSet::new());
        let (mut currencies, mut in_stock) = (BTreeSet::new(), 0);
        let mut lengths = Vec::new();
        for product in generate(5, 50_000) {
            for category in product.categories {
                *categories.entry(category).or_default() += 1;
            }
            tags.extend(product.tags);
            currencies.insert(product.price.unwrap().currency_code);
            in_stock += u32::from(product.in_stock);
            lengths.push(product.description.len());
        }
        assert_eq!(categories.len(), 200);
        assert_eq!(tags.len(), 1_000);
        assert!(categories["kitchen-pans"] > 10 * categories["pram-accessories"], "{categories:?}");
        assert_eq!(currencies.len(), 9);
        assert!((45_500..46_500).contains(&in_stock), "{in_stock}");
        lengths.sort_unstable();
        assert!((420..600).contains(&lengths[lengths.len() / 2]), "{}", lengths[lengths.len() / 2]);
    }

    fn distinct(list: &[String]) -> usize {
        list.iter().collect::<BTreeSet<_>>().len()
    }

    /// Folds every field of a product into a hash: 64-bit FNV-1a (Fowler, Noll and Vo), with a zero byte after each field.
    fn fnv1a(hash: u64, product: &Product) -> u64 {
        let price = product.price.clone().unwrap();
        let mut fields = vec![
            product.id.clone(),
            product.name.clone(),
            product.description.clone(),
            price.currency_code,
            price.units.to_string(),
            price.nanos.to_string(),
            product.image_url.clone(),
            product.in_stock.to_string(),
        ];
        fields.extend(product.categories.iter().chain(&product.tags).cloned());
        fields.extend(product.attributes.iter().map(|(name, value)| format!("{name}={value}")));
        fields
            .iter()
            .flat_map(|field| field.bytes().chain([0]))
            .fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}
