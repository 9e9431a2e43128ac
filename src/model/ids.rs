//! Ids as types of their own, so that a run is never taken for a miner.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub i32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// `weather_forecast_runs.id`
    RunId
);
id!(
    /// `node_table.uid`
    MinerUid
);
id!(
    /// Hours from initialisation to the forecast time.
    LeadHours
);
