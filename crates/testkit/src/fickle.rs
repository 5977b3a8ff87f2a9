//! A pretended server that refuses files.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::farm::Farm;
use crate::pretend::pretend_server;

/// A pretended server that refuses files with a code that the test can change, or stores them.
pub struct Fickle {
    /// The address where it listens.
    pub address: String,
    code: Arc<Mutex<Option<&'static str>>>,
    stored: Arc<Mutex<BTreeMap<u64, Vec<u8>>>>,
}

impl Fickle {
    /// Starts a server that refuses files with this code; `None` stores them.
    pub fn start(code: Option<&'static str>) -> Self {
        let code = Arc::new(Mutex::new(code));
        let stored = Arc::<Mutex<BTreeMap<u64, Vec<u8>>>>::default();
        let told = code.clone();
        let kept = stored.clone();
        let address = pretend_server(Some(&"f".repeat(32)), move |mut wire| {
            wire.say(&json!({"request_type": "holding", "last": true}));
            while let Some((header, content)) = wire.message() {
                if header["request_type"] != "store" {
                    continue;
                }
                let number = &header["request_number"];
                let answer = if let Some(code) = *told.lock().unwrap() {
                    let reason = format!("it is {code} for me");
                    json!({"request_type": "not_stored", "request_number": number, "code": code,
                        "reason": reason})
                } else {
                    let number = number.as_u64().unwrap();
                    kept.lock().unwrap().insert(number, content);
                    json!({"request_type": "stored", "request_number": number})
                };
                wire.say(&answer);
            }
        });
        Self {
            address,
            code,
            stored,
        }
    }

    /// Refuses files with this code from now on; `None` stores them.
    pub fn says(&self, code: Option<&'static str>) {
        *self.code.lock().unwrap() = code;
    }

    /// The files that it has stored, by request number.
    pub fn stored(&self) -> BTreeMap<u64, Vec<u8>> {
        self.stored.lock().unwrap().clone()
    }

    /// The request numbers of the files that it has stored.
    pub fn numbers(&self) -> Vec<u64> {
        self.stored.lock().unwrap().keys().copied().collect()
    }

    /// A balancer over this server alone, which is up.
    pub fn farm(&self, flags: &[&str]) -> Farm {
        let farm = Farm::over(&[format!("{}=1", self.address)], flags);
        farm.wait_until_up();
        farm
    }
}
