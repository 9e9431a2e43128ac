//! The raw rows of one run, as the database holds them: errors not yet sanitized, columns that no rule reads left out.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::model::evidence::Run;
use crate::model::time::Micros;

/// A text that many rows repeat: its place in the [`Vocabulary`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(pub u32);

/// All repeated texts: hotkeys, score types, variables.
#[derive(Debug, Default)]
pub struct Vocabulary {
    texts: Vec<String>,
    symbols: HashMap<String, Symbol>,
}

impl Vocabulary {
    /// The symbol of `text`, a new one if need be.
    pub fn add(&mut self, text: &str) -> Symbol {
        if let Some(&symbol) = self.symbols.get(text) {
            return symbol;
        }
        let symbol = Symbol(self.texts.len() as u32);
        self.texts.push(text.to_owned());
        self.symbols.insert(text.to_owned(), symbol);
        symbol
    }

    pub fn text(&self, symbol: Symbol) -> &str {
        &self.texts[symbol.0 as usize]
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

/// A row of `weather_miner_responses`.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseRow {
    pub id: i64,
    pub miner_uid: i32,
    pub miner_hotkey: Symbol,
    pub response_time: Micros,
    pub verification_passed: Option<bool>,
    pub status: &'static str,
    pub error_message: Option<String>,
    pub inference_started_at: Option<Micros>,
    pub inference_completed_at: Option<Micros>,
}

/// A row of `weather_miner_scores`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreRow {
    pub id: i64,
    pub response_id: i64,
    pub miner_uid: i32,
    pub miner_hotkey: Symbol,
    pub score_type: Symbol,
    pub calculation_time: Micros,
    pub score: Option<f64>,
    pub lead_hours: Option<i32>,
    pub variable_level: Option<Symbol>,
    pub valid_time_utc: Option<Micros>,
}

/// A row of `weather_forecast_component_scores`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ComponentRow {
    pub id: i64,
    pub response_id: i64,
    pub miner_uid: i32,
    pub miner_hotkey: Symbol,
    pub score_type: Symbol,
    pub lead_hours: i32,
    pub valid_time_utc: Micros,
    pub variable_name: Symbol,
    pub pressure_level: Option<i32>,
    pub rmse: Option<f64>,
    pub acc: Option<f64>,
    pub skill_score: Option<f64>,
    pub calculated_at: Micros,
}

/// A row of `weather_forecast_steps`.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRow {
    pub id: i64,
    pub miner_uid: i32,
    pub miner_hotkey: Symbol,
    pub step_name: &'static str,
    pub substep: Option<&'static str>,
    pub lead_hours: Option<i32>,
    pub status: &'static str,
    pub started_at: Option<Micros>,
    pub completed_at: Option<Micros>,
    pub retry_count: i32,
    pub next_retry_time: Option<Micros>,
    pub latency_ms: Option<i32>,
    pub error_json: Option<Json>,
}

/// All rows of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRows {
    pub run: Run,
    pub initiated: Micros,
    pub responses: Vec<ResponseRow>,
    pub scores: Vec<ScoreRow>,
    pub components: Vec<ComponentRow>,
    pub steps: Vec<StepRow>,
}
