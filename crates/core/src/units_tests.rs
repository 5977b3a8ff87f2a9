use super::*;

fn size(text: &str) -> Result<u64, UnitError> {
    text.parse::<ByteSize>().map(|size| size.0)
}

#[test]
fn sizes_are_read_in_binary_and_decimal_units() {
    let cases = [
        ("0", 0),
        ("4096", 4096),
        ("4096B", 4096),
        ("64KiB", 65_536),
        ("64 MiB", 67_108_864),
        ("  64\tmib ", 67_108_864),
        ("1GiB", 1 << 30),
        ("1.5GiB", 3 << 29),
        ("2tib", 2 << 40),
        ("10KB", 10_000),
        ("10kb", 10_000),
        ("10MB", 10_000_000),
        ("0.5 MB", 500_000),
        ("15EiB", 15 << 60),
        ("18446744073709551615", u64::MAX),
    ];
    for (text, bytes) in cases {
        assert_eq!(size(text), Ok(bytes), "{text}");
    }
}

#[test]
fn an_invalid_size_is_refused_with_an_example() {
    let error = size("12 parsecs").unwrap_err().to_string();
    assert_eq!(error, r#"invalid size "12 parsecs": expected e.g. 64MiB"#);
    for text in [
        "", " ", "MiB", "-1", "+1", "1.5", "1.5B", ".5KiB", "1.KiB", "1.2.3KiB", "1e3", "64 M iB",
        "٣KiB",
    ] {
        assert_eq!(
            size(text),
            Err(UnitError::NotASize(text.to_owned())),
            "{text}"
        );
    }
}

#[test]
fn a_size_over_64_bits_is_an_error() {
    for text in ["16EiB", "17179869184GiB", "19EB", "18446744073709551615KiB"] {
        assert_eq!(
            size(text),
            Err(UnitError::SizeTooLarge(text.to_owned())),
            "{text}"
        );
    }
    assert!(size("18446744073709551616").is_err());
}

#[test]
fn sizes_print_with_at_most_one_decimal() {
    let cases = [
        (0, "0 B"),
        (512, "512 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1_572_864, "1.5 MiB"),
        (1_048_575, "1023.9 KiB"),
        (10_000_000, "9.5 MiB"),
        (u64::MAX, "15.9 EiB"),
    ];
    for (bytes, text) in cases {
        assert_eq!(ByteSize(bytes).to_string(), text);
    }
}

#[test]
fn a_printed_size_can_be_read_again() {
    for bytes in [0, 1, 1023, 1024, 1536, 1 << 20, 5 << 30, 3 << 60] {
        assert_eq!(size(&ByteSize(bytes).to_string()), Ok(bytes));
    }
}

#[test]
fn durations_are_read_with_their_unit() {
    let cases = [
        ("0", 0),
        ("0ms", 0),
        ("20ms", 20),
        ("20 ms", 20),
        ("1s", 1000),
        ("1.5s", 1500),
        ("0.1s", 100),
        ("10m", 600_000),
        ("1h", 3_600_000),
        ("7d", 604_800_000),
        ("0.5h", 1_800_000),
    ];
    for (text, millis) in cases {
        assert_eq!(
            parse_duration(text),
            Ok(Duration::from_millis(millis)),
            "{text}"
        );
    }
}

#[test]
fn a_bare_number_is_told_to_add_a_unit() {
    let error = parse_duration("20").unwrap_err().to_string();
    assert_eq!(
        error,
        r#"duration "20" has no unit: write e.g. 20s or 20ms"#
    );
}

#[test]
fn what_is_no_duration_is_refused() {
    for text in [
        "",
        "s",
        "-1s",
        "1S",
        "1M",
        "1 fortnight",
        "1.s",
        "NaNs",
        "1.0000000001s",
    ] {
        assert_eq!(
            parse_duration(text),
            Err(UnitError::NotADuration(text.to_owned())),
            "{text}"
        );
    }
}

/// Times that no clock can be moved by made whoever waited for them panic.
#[test]
fn a_duration_of_more_than_ten_years_is_refused_with_the_longest() {
    assert_eq!(parse_duration("87600h"), Ok(LONGEST_DURATION));
    for text in [
        "87600.1h",
        "315360001s",
        "5000000000000000h",
        "18446744073709551615s",
        "18446744073709551615h",
    ] {
        assert_eq!(
            parse_duration(text),
            Err(UnitError::DurationTooLong(text.to_owned())),
            "{text}"
        );
    }
    let error = parse_duration("87601h").unwrap_err().to_string();
    assert_eq!(
        error,
        r#"duration "87601h" is too long: the longest is 87600h, which is ten years"#
    );
}

#[test]
fn durations_print_short() {
    let cases = [
        (Duration::ZERO, "0 s"),
        (Duration::from_nanos(7), "7 ns"),
        (Duration::from_micros(300), "300 µs"),
        (Duration::from_millis(20), "20 ms"),
        (Duration::from_millis(1500), "1.5 s"),
        (Duration::from_secs(2), "2 s"),
        (Duration::from_millis(59_999), "59.9 s"),
        (Duration::from_mins(1), "1 m"),
        (Duration::from_secs(130), "2 m 10 s"),
        (Duration::from_mins(65), "1 h 5 m"),
        (Duration::from_hours(76), "3 d 4 h"),
    ];
    for (duration, text) in cases {
        assert_eq!(format_duration(duration), text);
    }
}

#[test]
fn a_margin_is_a_share_or_a_size() {
    assert_eq!("0.025%".parse(), Ok(Margin::Percent(0.025)));
    assert_eq!(" 100 % ".parse(), Ok(Margin::Percent(100.0)));
    assert_eq!("64MiB".parse(), Ok(Margin::Bytes(64 << 20)));
}

#[test]
fn a_margin_out_of_range_is_refused() {
    for text in ["0%", "-1%", "100.1%", "inf%", "NaN%"] {
        assert_eq!(
            text.parse::<Margin>(),
            Err(UnitError::PercentOutOfRange(text.to_owned())),
            "{text}"
        );
    }
    for text in ["", "%", "much", "x%", "1%%"] {
        assert_eq!(
            text.parse::<Margin>(),
            Err(UnitError::NotAMargin(text.to_owned())),
            "{text}"
        );
    }
    assert_eq!(
        "0".parse::<Margin>(),
        Err(UnitError::EmptyMargin("0".to_owned()))
    );
    assert_eq!(
        "99EiB".parse::<Margin>(),
        Err(UnitError::SizeTooLarge("99EiB".to_owned()))
    );
}

#[test]
fn a_margin_in_bytes_depends_on_the_machine() {
    assert_eq!(Margin::Percent(0.025).bytes(16_000_000_000), 4_000_000);
    assert_eq!(Margin::Percent(100.0).bytes(1 << 40), 1 << 40);
    assert_eq!(
        Margin::Percent(0.025).bytes(1),
        1,
        "never a margin of nothing"
    );
    assert_eq!(Margin::Bytes(4096).bytes(1 << 40), 4096);
}

#[test]
fn margins_print_as_they_are_written() {
    assert_eq!(Margin::Percent(0.025).to_string(), "0.025%");
    assert_eq!(Margin::Bytes(64 << 20).to_string(), "64 MiB");
}
