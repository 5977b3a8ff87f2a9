//! Bad input: it is refused with a reason, and other connections do not notice.

mod crowds;
mod directories;
mod foreign;
mod frame_cases;
mod frames;
mod full_queue;
mod hostile_servers;
mod json;
mod json_cases;
mod peers;
mod stalls;
mod strangers;
mod titles;
mod tricklers;
