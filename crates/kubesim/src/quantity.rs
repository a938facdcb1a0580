//! Resource quantities such as `250m` or `2Gi`, in thousandths of their unit.

/// Thousandths: `1` is 1000, `250m` is 250. `None` when the text is no quantity.
pub(crate) fn milli(text: &str) -> Option<i128> {
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let factor: i128 = match suffix {
        "m" => return decimal(number, 1),
        "n" => return decimal(number, 1).map(|v| div_up(v, 1_000_000)),
        "u" => return decimal(number, 1).map(|v| div_up(v, 1_000)),
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "E" => 1_000_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "Ei" => 1 << 60,
        exponent => return scientific(number, exponent),
    };
    decimal(number, factor * 1000)
}

/// As the API writes an amount of thousandths: memory and storage by powers of 1024 where that is exact, everything else by
/// powers of ten.
pub(crate) fn text(name: &str, milli: i128) -> String {
    if milli % 1000 != 0 {
        return format!("{milli}m");
    }
    let mut whole = milli / 1000;
    let binary = ["memory", "storage"].iter().any(|part| name.contains(part));
    let (base, suffixes): (i128, &[&str]) = if binary {
        (1024, &["", "Ki", "Mi", "Gi", "Ti", "Pi"])
    } else {
        (1000, &["", "k", "M", "G", "T", "P"])
    };
    let mut power = 0;
    while whole != 0 && whole % base == 0 && power + 1 < suffixes.len() {
        whole /= base;
        power += 1;
    }
    format!("{whole}{}", suffixes[power])
}

fn div_up(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

fn scientific(number: &str, exponent: &str) -> Option<i128> {
    let power: u32 = exponent.strip_prefix(['e', 'E'])?.trim_start_matches('+').parse().ok()?;
    decimal(number, 10_i128.checked_pow(power)?.checked_mul(1000)?)
}

/// `number` times `factor`, rounded up as the API does.
fn decimal(number: &str, factor: i128) -> Option<i128> {
    let (negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |s: &str| s.len() <= 18 && s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !plain(whole) || !plain(part) {
        return None;
    }
    let scale = 10_i128.pow(u32::try_from(part.len()).ok()?);
    let value: i128 = format!("0{whole}{part}").parse().ok()?;
    let value = div_up(value.checked_mul(factor)?, scale);
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::{milli, text};

    #[test]
    fn thousandths_become_quantities() {
        for (name, amount, expected) in [
            ("cpu", 250, "250m"),
            ("cpu", 2000, "2"),
            ("pods", 0, "0"),
            ("requests.memory", 1_073_741_824_000, "1Gi"),
            ("requests.memory", 1_500_000_000, "1500000"),
            ("services", 3_000_000, "3k"),
        ] {
            assert_eq!(text(name, amount), expected, "{name} {amount}");
            assert_eq!(milli(expected), Some(amount), "{expected}");
        }
    }

    #[test]
    fn quantities_become_thousandths() {
        for (text, expected) in [
            ("1", Some(1000)),
            ("250m", Some(250)),
            ("0.5", Some(500)),
            (".5", Some(500)),
            ("-1", Some(-1000)),
            ("1k", Some(1_000_000)),
            ("1Ki", Some(1_024_000)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("1e3", Some(1_000_000)),
            ("100n", Some(1)),
            ("0.0001", Some(1)),
            ("", None),
            ("abc", None),
            ("1x", None),
            ("1.2.3", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(milli(text), expected, "{text}");
        }
    }
}
