//! R8–R12: what the steps and the response of a miner say of its stage, retries, errors, hosting and inference.

#[cfg(test)]
mod rules;

use serde::{Deserialize, Serialize};

use crate::model::sanitize::class_of;
use crate::model::settings::MaxRetries;
use crate::model::time::Micros;

use super::roster::{ErrorText, Response};
use super::run::COMPLETED;
use super::steps::Step;

/// R8: the latest of some steps.
pub fn latest<'s, 'a>(steps: impl IntoIterator<Item = &'s Step<'a>>) -> Option<&'s Step<'a>>
where
    'a: 's,
{
    steps.into_iter().max_by_key(|step| step.order())
}

/// R8: `current_forecast_stage`, from the status (R7) and the latest step.
pub fn current_stage(status: &str, latest: Option<&Step<'_>>) -> String {
    if status == COMPLETED {
        return "complete".to_owned();
    }
    let Some(step) = latest else { return status.to_owned() };
    match (step.name(), step.lead()) {
        ("era5", Some(lead)) if lead > 0 => format!("era5_scoring_{lead}h"),
        ("era5", _) => "era5_scoring".to_owned(),
        ("day1", _) => "day1_scoring".to_owned(),
        ("verify", _) => "verification".to_owned(),
        ("query", _) => "inference_requested".to_owned(),
        ("poll" | "inference", _) => "inference_running".to_owned(),
        (name, _) => name.to_owned(),
    }
}

/// R8: `current_forecast_status`, from the status (R7) and the latest step.
pub fn current_status<'a>(status: &str, latest: Option<&Step<'a>>) -> Option<&'a str> {
    if status == COMPLETED {
        return Some(COMPLETED);
    }
    Some(match latest?.status() {
        "pending" => "initialized",
        "in_progress" => "in_progress",
        "succeeded" => "completed",
        "failed" => "error",
        "retry_scheduled" => "waiting_retry",
        other => other,
    })
}

/// R9: `retries_remaining`
pub fn retries_remaining(latest: Option<&Step<'_>>, max_retries: &MaxRetries) -> i32 {
    latest.map_or(max_retries.default, |step| max_retries.of(step.name()).saturating_sub(step.retry_count).max(0))
}

/// R9: `next_scheduled_retry`
pub fn next_scheduled_retry(steps: &[Step<'_>]) -> Option<Micros> {
    steps.iter().filter(|step| step.status() == "retry_scheduled").filter_map(Step::next_retry).min()
}

/// R10: the error of the row.
pub fn error<'a>(status: &str, steps: &[Step<'a>], response: Option<&Response<'a>>) -> Option<ErrorText<'a>> {
    if status == COMPLETED {
        return None;
    }
    match latest_error(steps) {
        Some(step) => step.error(),
        None => response.and_then(|response| response.error),
    }
}

/// R10: the latest failed or `retry_scheduled` step that has an error.
pub fn latest_error<'s, 'a>(steps: &'s [Step<'a>]) -> Option<&'s Step<'a>> {
    latest(steps.iter().filter(|step| step.error().is_some() && (step.failed() || step.status() == "retry_scheduled")))
}

/// R11: whether the miner's host could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hosting {
    Accessible,
    Inaccessible,
    Timeout,
    Error,
}

impl Hosting {
    pub fn name(self) -> &'static str {
        match self {
            Hosting::Accessible => "accessible",
            Hosting::Inaccessible => "inaccessible",
            Hosting::Timeout => "timeout",
            Hosting::Error => "error",
        }
    }
}

/// R11: `hosting_status` and `hosting_latency_ms`.
pub fn hosting(steps: &[Step<'_>], response: Option<&Response<'_>>) -> (Option<Hosting>, Option<i32>) {
    match latest_probe(steps) {
        Some(step) if step.status() == "succeeded" => (Some(Hosting::Accessible), step.latency_ms()),
        Some(step) => (Some(failed_hosting(step.error())), None),
        None => {
            let passed = response.and_then(|response| response.verification_passed);
            (passed.map(|passed| if passed { Hosting::Accessible } else { Hosting::Inaccessible }), None)
        }
    }
}

/// R11: the latest step that tells whether the store could be read.
pub fn latest_probe<'s, 'a>(steps: &'s [Step<'a>]) -> Option<&'s Step<'a>> {
    let probes = steps.iter().filter(|step| step.is("fetch", "kerchunk") || step.is("verify", "open_store"));
    latest(probes.filter(|step| matches!(step.status(), "succeeded" | "failed")))
}

/// R11: by the class of the error (E3).
fn failed_hosting(error: Option<ErrorText<'_>>) -> Hosting {
    let Some(error) = error else { return Hosting::Error };
    match class_of(&format!("{} {}", error.kind, error.message.unwrap_or_default())) {
        "timeout" => Hosting::Timeout,
        "connection" | "not_found" => Hosting::Inaccessible,
        _ => Hosting::Error,
    }
}

/// R12: whole seconds from the start to the end of inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inference {
    /// One of the times is missing or infinite, or the span is too long for the column.
    Unknown,
    Negative,
    Seconds(i32),
}

/// R12: from the response.
pub fn inference(response: Option<&Response<'_>>) -> Inference {
    let times = response.and_then(|response| Some((response.inference_started?, response.inference_completed?)));
    let Some((started, completed)) = times else { return Inference::Unknown };
    if completed < started {
        return Inference::Negative;
    }
    if started == Micros::MIN || completed == Micros::MAX {
        return Inference::Unknown;
    }
    let micros = i128::from(completed.0) - i128::from(started.0);
    i32::try_from(micros / 1_000_000).map_or(Inference::Unknown, Inference::Seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(started: Option<Micros>, completed: Option<Micros>) -> Response<'static> {
        Response {
            id: 1,
            hotkey: "",
            time: Micros(0),
            verification_passed: None,
            status: "received",
            error: None,
            inference_started: started,
            inference_completed: completed,
        }
    }

    #[test]
    fn r12_whole_seconds() {
        let span = |started, completed| inference(Some(&response(Some(started), Some(completed))));
        assert_eq!(span(Micros(0), Micros(1_999_999)), Inference::Seconds(1));
        assert_eq!(span(Micros(5), Micros(5)), Inference::Seconds(0));
        assert_eq!(span(Micros(6), Micros(5)), Inference::Negative);
        assert_eq!(span(Micros(0), Micros::MAX), Inference::Unknown);
        assert_eq!(span(Micros::MIN, Micros(0)), Inference::Unknown);
        assert_eq!(span(Micros::MAX, Micros(0)), Inference::Negative);
        let limit = i64::from(i32::MAX) * 1_000_000;
        assert_eq!(span(Micros(0), Micros(limit)), Inference::Seconds(i32::MAX));
        assert_eq!(span(Micros(0), Micros(limit + 1_000_000)), Inference::Unknown);
        assert_eq!(inference(Some(&response(None, Some(Micros(0))))), Inference::Unknown);
        assert_eq!(inference(None), Inference::Unknown);
    }
}
