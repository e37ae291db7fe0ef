//! Sizes as people write them: `64 MiB`, `1 GB`, `4096`.

/// How many bytes `text` says; `None`: none that it could say.
pub(super) fn parse(text: &str) -> Option<u64> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    let unit = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1000 * 1000,
        "gb" => 1000 * 1000 * 1000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_size_is_a_number_and_its_unit() {
        for (text, size) in [
            ("64 MiB", Some(64 << 20)),
            ("64mib", Some(64 << 20)),
            ("1 GB", Some(1_000_000_000)),
            ("4096", Some(4096)),
            ("2 kB", Some(2000)),
            ("", None),
            ("MiB", None),
            ("1.5 GiB", None),
            ("-1", None),
            ("64 M", None),
            ("99999999999 GiB", None),
        ] {
            assert_eq!(parse(text), size, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_size_or_none(text in ".{0,20}") {
            let _ = parse(&text);
        }
    }
}
