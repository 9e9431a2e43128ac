//! Raw errors as a validator stores them: with addresses, paths and tokens in them. Nothing here is ever shown unsanitized.

use serde_json::{Value as Json, json};

use super::chance::Chance;
use super::miner::Miner;

/// What a miner that cannot be reached leaves behind.
pub fn unreachable(miner: &Miner, run: i32, chance: &mut Chance) -> String {
    let address = &miner.address;
    match chance.below(3) {
        0 => format!("Connection timeout to {address} while reading /opt/validator/cache/run_{run}.json"),
        1 => format!("All connection attempts failed for https://{address}/weather-initiate-fetch?token={}", token(chance)),
        _ => "No response - miner offline or IP/port not registered".to_owned(),
    }
}

/// What a miner says, or what is said of it, when its computation does not end.
pub fn inference(miner: &Miner, chance: &mut Chance) -> String {
    match chance.below(3) {
        0 => format!("Inference status poll timed out after 30 s ({})", miner.address),
        1 => format!("inference worker died: api_key={}", token(chance)),
        _ => "CUDA out of memory during inference, see /home/miner/logs/infer.log".to_owned(),
    }
}

/// Why a manifest or a store does not verify.
pub fn verification(miner: &Miner, run: i32, chance: &mut Chance) -> Json {
    let (kind, message) = match chance.below(3) {
        0 => (
            "VerificationError",
            format!("manifest hash mismatch for run {run} at https://{}/kerchunk/{run}.json", miner.address),
        ),
        1 => ("FileNotFoundError", format!("404 not found: http://{}/forecasts/2025/{run}.zarr/.zmetadata", miner.address)),
        _ => ("ConnectionError", format!("Connection reset by peer [{}]", miner.address)),
    };
    with_traceback(kind, &message)
}

/// Why a store does not open in time.
pub fn slow_store(miner: &Miner, chance: &mut Chance) -> Json {
    let seconds = 30 + chance.below(90);
    with_traceback("TimeoutError", &format!("Request to https://{}/store timed out after {seconds} s", miner.address))
}

/// Why a lead was not scored.
pub fn scoring(lead: i32, chance: &mut Chance) -> Json {
    match chance.below(3) {
        0 => with_traceback("ValueError", &format!("no time step for lead {lead} in /tmp/era5_work/forecast.nc")),
        1 => with_traceback(
            "RuntimeError",
            &format!("dask worker tcp://10.0.0.{}:8786 lost while scoring {lead}h", chance.below(200)),
        ),
        _ => with_traceback("KeyError", "'air_pressure_at_mean_sea_level'"),
    }
}

/// Errors of queries and polls are an object with this one key.
pub fn bare(message: &str) -> Json {
    json!({ "error": message })
}

/// The message of an error of any shape.
pub fn message(error: &Json) -> Option<String> {
    ["message", "error"].iter().find_map(|key| error[key].as_str()).map(str::to_owned)
}

fn with_traceback(kind: &str, message: &str) -> Json {
    let traceback =
        format!("Traceback (most recent call last):\n  File \"/srv/validator/scoring.py\", line 118\n{kind}: {message}");
    json!({ "type": kind, "message": message, "traceback": traceback })
}

fn token(chance: &mut Chance) -> String {
    const HEX: &[u8] = b"0123456789abcdef";
    (0..24).map(|_| char::from(*chance.of(HEX))).collect()
}
