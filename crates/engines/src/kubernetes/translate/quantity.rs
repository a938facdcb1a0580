//! Pure: Kubernetes quantities (`250m`, `1.5Gi`, `2e3`) as integers. What cannot be read counts as nothing.

/// In whole units, rounded down.
pub(crate) fn units(text: &str) -> u64 {
    scaled(text, 1.0)
}

/// In thousandths, rounded down.
pub(crate) fn thousandths(text: &str) -> u64 {
    scaled(text, 1000.0)
}

fn scaled(text: &str, by: f64) -> u64 {
    let value = parse(text).unwrap_or(0.0) * by;
    // A hair below a whole number is that number: 0.29 * 1000 must be 290.
    let value = (value + 1e-6).floor();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, which is wanted"
    )]
    {
        value as u64
    }
}

fn parse(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let found = UNITS.iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number * factor)
    });
    found.or_else(|| text.parse().ok()).filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_in_every_notation() {
        for (text, whole, milli) in [
            ("0", 0, 0),
            ("4", 4, 4000),
            ("250m", 0, 250),
            ("0.29", 0, 290),
            ("1.5Gi", 1_610_612_736, 1_610_612_736_000),
            ("128Mi", 134_217_728, 134_217_728_000),
            ("16384Ki", 16_777_216, 16_777_216_000),
            ("1k", 1000, 1_000_000),
            ("2e3", 2000, 2_000_000),
            ("3E", 3_000_000_000_000_000_000, u64::MAX),
            ("-1", 0, 0),
            ("many", 0, 0),
            ("", 0, 0),
        ] {
            assert_eq!((units(text), thousandths(text)), (whole, milli), "{text}");
        }
    }
}
