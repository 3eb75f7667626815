//! Figures as people read them. It must not know what they mean.

/// Three significant digits, all digits before the point: `0.0123`, `4.57`, `12.3`, `1234`.
pub fn figure(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size == 0.0 => "0".to_owned(),
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ if size >= 1.0 => format!("{value:.2}"),
        _ => {
            let digits = (2.0 - size.log10().floor()).clamp(2.0, 9.0) as usize;
            format!("{value:.digits$}")
        }
    }
}

/// A share in percent: `92.5 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// An interval of shares in percent: `90.1–94.0`.
pub fn interval((lo, hi): (f64, f64)) -> String {
    format!("{:.1}–{:.1}", lo * 100.0, hi * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_enough() {
        let shown: Vec<String> = [0.0, 0.012345, 0.5, 4.567, 12.34, 1234.5, -0.25].into_iter().map(figure).collect();
        assert_eq!(shown, ["0", "0.0123", "0.500", "4.57", "12.3", "1234", "-0.250"]);
    }
}
