//! The flags for reading CSV files.

use clap::Args;

use super::super::{amount::shown, csv::COLUMNS};

/// How to read the columns of a file.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "How files are read")]
pub(crate) struct CsvArgs {
    /// The separator of the columns of a CSV file: one character, or tab. By default comma, semicolon and tab are detected.
    #[arg(long, value_name = "CHAR", value_parser = separator)]
    pub(super) separator: Option<u8>,
    /// Read a field from this column: --map name=Title --map price=Cost --map attributes.maker=Brand. All other columns are
    /// then ignored.
    #[arg(long, value_name = "FIELD=COLUMN", value_parser = mapping)]
    pub(super) map: Vec<(Field, String)>,
    /// The currency of amounts without one, such as EUR.
    #[arg(long, value_name = "CODE", value_parser = currency)]
    pub(super) currency: Option<String>,
    /// The separator of categories, and of tags. By default |, or the separator of the program that wrote the file.
    #[arg(long, value_name = "CHAR")]
    pub(super) list_separator: Option<char>,
    /// Ignore columns, and fields of JSON objects, that a product does not have.
    #[arg(long)]
    pub(super) ignore_unknown: bool,
}

/// The meaning of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    /// One of [`COLUMNS`].
    Column(usize),
    /// An attribute.
    Attribute(String),
}

fn separator(text: &str) -> Result<u8, String> {
    match (text, text.as_bytes()) {
        ("tab" | "\\t", _) => Ok(b'\t'),
        (_, [byte]) if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !matches!(byte, b'"' | b'\n' | b'\r') => {
            Ok(*byte)
        }
        _ => Err("must be one character such as ; or the word tab".to_owned()),
    }
}

fn mapping(text: &str) -> Result<(Field, String), String> {
    let (field, column) = text.split_once('=').ok_or("must be FIELD=COLUMN")?;
    let name = match field {
        "price" => "price_amount",
        "currency" => "price_currency",
        name => name,
    };
    let field = match (name.strip_prefix("attributes."), COLUMNS.iter().position(|column| *column == name)) {
        (Some(key), _) if !key.is_empty() => Field::Attribute(key.to_owned()),
        (_, Some(at)) => Field::Column(at),
        _ => {
            let fields = COLUMNS.join(", ");
            return Err(format!("{} is no field; there are {fields} and attributes.KEY", shown(field)));
        }
    };
    Ok((field, column.to_owned()))
}

fn currency(text: &str) -> Result<String, String> {
    if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        Ok(text.to_owned())
    } else {
        Err("must be three capital letters of ISO 4217, such as EUR".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_checked() {
        assert_eq!(
            (separator(";"), separator("tab"), separator("\\t"), separator("|")),
            (Ok(b';'), Ok(9), Ok(9), Ok(124))
        );
        for bad in ["", "a", "\"", ";;", "é"] {
            assert!(separator(bad).is_err(), "{bad}");
        }
        assert_eq!(mapping("price=Cost = net"), Ok((Field::Column(4), "Cost = net".to_owned())));
        assert_eq!(mapping("attributes.maker=Brand"), Ok((Field::Attribute("maker".to_owned()), "Brand".to_owned())));
        for bad in ["name", "title=Name", "attributes.=X", "=X"] {
            assert!(mapping(bad).is_err(), "{bad}");
        }
        assert!(currency("EUR").is_ok() && currency("eur").is_err() && currency("€").is_err());
    }
}
