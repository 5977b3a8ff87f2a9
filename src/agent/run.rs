//! An agent's life: it tells its figures until it is stopped, and begins anew whatever breaks.

use std::time::Duration;

use rand::RngExt;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::figures::Figures;
use super::to::To;
use super::told::{Config, Ended, Tell, Told};
use super::{datagrams, native, web};
use crate::host::Host;

/// The first pause before another attempt, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Tells figures until `stop` is cancelled. A reason is told once, until another one comes up or the
/// figures are told again.
pub async fn run(
    config: Config,
    stop: CancellationToken,
    tell: Tell<'_>,
) -> Result<(), sysinfo::Error> {
    let mut figures = Figures::new(Host::new(&config.directory)?, config.every);
    let mut sender = datagrams::Sender::new(&config);
    let mut pause = PAUSE.0;
    let mut last = None;
    while !stop.is_cancelled() {
        let mut was_in = false;
        let mut note = |told: Told| {
            was_in |= matches!(told, Told::Telling(_) | Told::Sending);
            if last.as_ref() != Some(&told) {
                tell(told.clone());
                last = Some(told);
            }
        };
        let ended = match &config.to {
            To::Native(place) => {
                native::follow(&config, place, &mut figures, &stop, &mut note).await
            }
            To::Udp(place) => sender.follow(place, &mut figures, &stop, &mut note).await,
            To::Web(place) | To::SecureWeb(place) => {
                web::follow(&config, place, &mut figures, &stop, &mut note).await
            }
        };
        match ended {
            Ended::Stopped => break,
            Ended::Refused(reason) => note(Told::Refused(reason)),
            Ended::Broken(reason) => note(Told::Away(reason)),
        }
        if was_in {
            pause = PAUSE.0;
        }
        let wait = pause.mul_f64(rand::rng().random_range(0.75..1.25));
        pause = (pause * 2).min(PAUSE.1);
        stop.run_until_cancelled(sleep(wait)).await;
    }
    Ok(())
}
