//! The line of status that the first system's servers push, one in a second, without an end.

use std::time::Duration;

use super::super::facts::{Facts, MAX_FACT_TEXT};
use super::list::MAX_READ;
use crate::text::excerpt;

/// The longest line that is taken, in bytes.
pub const MAX_LINE: usize = MAX_FACT_TEXT;

const CPU: &str = "Uso de CPU";
const MEMORY: &str = "Uso de Memória";
const DISK: &str = "Uso de Disco";
const NETWORK: &str = "Status da Rede";
const UPTIME: &str = "Tempo de Atividade";
const UP: &str = "Ativo";
const DOWN: &str = "Inativo";
const UNKNOWN: &str = "Desconhecido";
/// The unit in which a line ends.
const HOURS: &str = "horas";

/// Why a text is no line of status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// A field that is missing or has no number.
    #[error("`{0}` has no number in it: {1}")]
    Field(&'static str, String),
    /// A figure that cannot be.
    #[error("a figure of it is impossible: {0}")]
    Figure(String),
    /// What came does not begin or end as a line does.
    #[error("it is no line of status")]
    NoLine,
}

/// The line of a member, byte by byte as the first system's servers write it. A figure that is not
/// known is `nan`, which its clients read as a number that is none.
pub fn status_line(facts: &Facts) -> String {
    let percent = |part: Option<f32>| match part {
        Some(part) => format!("{:.1}%", f64::from(part) * 100.0),
        None => "nan%".to_owned(),
    };
    let network = match facts.network_up {
        Some(true) => UP,
        Some(false) => DOWN,
        None => UNKNOWN,
    };
    let uptime = match facts.uptime_s {
        Some(seconds) => format!("{:.2}", Duration::from_secs(seconds).as_secs_f64() / 3600.0),
        None => "nan".to_owned(),
    };
    format!(
        "{CPU}: {} | {MEMORY}: {} | {DISK}: {} | {NETWORK}: {network} | {UPTIME}: {uptime} {HOURS}",
        percent(facts.cpu),
        percent(facts.memory_part()),
        percent(facts.disk_part()),
    )
}

/// Reads a line of status. A figure that is `nan` is not told.
pub fn parse_line(line: &str) -> Result<Facts, BadLine> {
    if line.len() > MAX_LINE {
        return Err(BadLine::NoLine);
    }
    let field = |name: &'static str| {
        let mut fields = line.split('|').filter_map(|field| field.split_once(':'));
        let found = fields.find(|(title, _)| title.trim() == name);
        found
            .map(|(_, value)| value.trim())
            .ok_or_else(|| BadLine::Field(name, excerpt(line).into_owned()))
    };
    let number = |name: &'static str, unit: &str| {
        let text = field(name)?;
        let number = text.strip_suffix(unit).unwrap_or(text).trim_end();
        let number: f64 = number
            .parse()
            .map_err(|_| BadLine::Field(name, excerpt(text).into_owned()))?;
        Ok((!number.is_nan()).then_some(number))
    };
    let part = |name| Ok(number(name, "%")?.map(|percent| as_part(percent / 100.0)));
    let facts = Facts {
        cpu: part(CPU)?,
        memory_ratio: part(MEMORY)?,
        disk_ratio: part(DISK)?,
        network_up: match field(NETWORK)? {
            UP => Some(true),
            DOWN => Some(false),
            _ => None,
        },
        uptime_s: match number(UPTIME, HOURS)? {
            Some(hours) => Some(seconds(hours)?),
            None => None,
        },
        status_text: Some(line.into()),
        ..Facts::default()
    };
    match facts.check() {
        Ok(()) => Ok(facts),
        Err(error) => Err(BadLine::Figure(error.to_string())),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a part of 1")]
fn as_part(part: f64) -> f32 {
    part as f32
}

fn seconds(hours: f64) -> Result<u64, BadLine> {
    Duration::try_from_secs_f64(hours * 3600.0)
        .map(|uptime| uptime.as_secs())
        .map_err(|_| BadLine::Figure(format!("`{UPTIME}` must be a time")))
}

/// Takes the first whole line out of what has come; `None` if there is none yet. Lines have no end
/// of their own: one ends with its unit, and white space may be between two.
pub fn next_line(came: &mut Vec<u8>) -> Result<Option<String>, BadLine> {
    let start = came.iter().position(|byte| !byte.is_ascii_whitespace());
    came.drain(..start.unwrap_or(came.len()));
    let known = CPU.as_bytes().iter().zip(&*came).all(|(a, b)| a == b);
    if !known {
        return Err(BadLine::NoLine);
    }
    let end = came
        .windows(HOURS.len())
        .position(|at| at == HOURS.as_bytes());
    let Some(end) = end
        .map(|at| at + HOURS.len())
        .filter(|end| *end <= MAX_LINE)
    else {
        // Once so much has come without an end, none will.
        let is_too_long = end.is_some() || came.len() > MAX_READ.max(MAX_LINE);
        return if is_too_long {
            Err(BadLine::NoLine)
        } else {
            Ok(None)
        };
    };
    let line = came.drain(..end).collect();
    String::from_utf8(line)
        .map(Some)
        .map_err(|_| BadLine::NoLine)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = "Uso de CPU: 58.9% | Uso de Memória: 3.5% | Uso de Disco: 29.8% | \
                        Status da Rede: Ativo | Tempo de Atividade: 0.84 horas";

    fn facts() -> Facts {
        Facts {
            cpu: Some(0.589),
            memory_used: Some(35),
            memory_total: Some(1000),
            disk_used: Some(298),
            disk_free: Some(702),
            disk_total: Some(1100),
            network_up: Some(true),
            uptime_s: Some(3024),
            ..Facts::default()
        }
    }

    #[test]
    fn the_line_is_that_of_the_original() {
        assert_eq!(status_line(&facts()), LINE);
        assert_eq!(LINE.len(), 120);
        let idle = Facts {
            cpu: Some(0.0),
            memory_ratio: Some(1.0),
            network_up: Some(false),
            uptime_s: Some(360_000),
            ..Facts::default()
        };
        assert_eq!(
            status_line(&idle),
            "Uso de CPU: 0.0% | Uso de Memória: 100.0% | Uso de Disco: nan% | Status da Rede: \
             Inativo | Tempo de Atividade: 100.00 horas"
        );
    }

    #[test]
    fn a_line_is_read_as_it_is_written() {
        let read = parse_line(LINE).unwrap();
        assert_eq!(
            read,
            Facts {
                cpu: Some(0.589),
                memory_ratio: Some(0.035),
                disk_ratio: Some(0.298),
                network_up: Some(true),
                uptime_s: Some(3024),
                status_text: Some(LINE.into()),
                ..Facts::default()
            }
        );
        assert_eq!(status_line(&read), LINE);
        let nothing = parse_line(&status_line(&Facts::default())).unwrap();
        assert_eq!((nothing.cpu, nothing.uptime_s), (None, None));
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for (from, to) in [
            ("58.9%", ""),
            ("58.9%", "58,9%"),
            ("58.9%", "-1%"),
            ("58.9%", "101%"),
            ("58.9%", "inf%"),
            ("3.5%", "3.5% Uso de CPU"),
            ("29.8%", "1e999%"),
            ("0.84", "-0.84"),
            ("0.84", "1e300"),
            ("0.84", "inf"),
            ("0.84", "0.84 minutos"),
            ("Uso de Disco", "Uso de Disquete"),
            (" | Status da Rede: Ativo", ""),
            ("Ativo", &"x".repeat(MAX_LINE)),
        ] {
            let line = LINE.replacen(from, to, 1);
            assert!(parse_line(&line).is_err(), "{line}");
        }
        for line in ["", "status", "|||||", ":|:|:|:|:", "Uso de CPU: 1%"] {
            assert!(parse_line(line).is_err(), "{line}");
        }
    }

    #[test]
    fn lines_that_come_together_are_taken_apart() {
        let mut came = [LINE, LINE, "\n", LINE, "\r\n Uso d"].concat().into_bytes();
        for _ in 0..3 {
            assert_eq!(next_line(&mut came), Ok(Some(LINE.to_owned())));
        }
        assert_eq!(next_line(&mut came), Ok(None));
        assert_eq!(came, b"Uso d");
        assert_eq!(next_line(&mut Vec::new()), Ok(None));
    }

    #[test]
    fn what_never_ends_is_not_kept() {
        for came in ["HTTP/1.1 400", "{\"a\":1}", "Uso de RAM", "horas"] {
            let mut came = came.as_bytes().to_vec();
            assert_eq!(next_line(&mut came), Err(BadLine::NoLine));
        }
        let mut came = CPU.as_bytes().to_vec();
        let ended = (0..=MAX_READ).find_map(|_| {
            came.push(b'x');
            next_line(&mut came).err()
        });
        assert_eq!(ended, Some(BadLine::NoLine));
        let mut late = [CPU, &*"x".repeat(MAX_LINE), HOURS].concat().into_bytes();
        assert_eq!(next_line(&mut late), Err(BadLine::NoLine));
        let mut bytes = [CPU.as_bytes(), b"\xff", HOURS.as_bytes()].concat();
        assert_eq!(next_line(&mut bytes), Err(BadLine::NoLine));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(line in "\\PC*", bytes in any::<Vec<u8>>()) {
            let _ = parse_line(&line);
            let mut came = bytes;
            let _ = next_line(&mut came);
        }

        #[test]
        fn figures_survive_a_line(cpu in 0..=1000_u32, memory in 0..=1000_u32, uptime in 0..10_000_000_u64) {
            let part = |mille: u32| Some(as_part(f64::from(mille) / 1000.0));
            let told = Facts {
                cpu: part(cpu),
                memory_ratio: part(memory),
                uptime_s: Some(uptime),
                ..Facts::default()
            };
            let line = status_line(&told);
            prop_assert!(line.len() <= MAX_LINE);
            let read = parse_line(&line).unwrap();
            prop_assert_eq!(status_line(&read), line);
            prop_assert_eq!((read.cpu, read.memory_ratio), (told.cpu, told.memory_ratio));
        }
    }
}
