//! Plants known differences in the stored rollups: exactly as many as asked for, each of a class that is certain.
//!
//! What goes where is drawn before anything is generated: a list of columns for each unit. So the units stay independent,
//! and the number holds over all of them. Noise within tolerance comes on top and is told apart by its class.

use std::collections::HashSet;

use crate::diff::classify;
use crate::error::{Error, ErrorKind, Result};
use crate::model::cause::Cause;
use crate::model::columns::{Column, Group, Type};
use crate::model::difference::{CellClass, Class, Difference, RowKey, Tolerance};
use crate::model::evidence::Unit;
use crate::model::filter::is_wide;
use crate::model::rollups::{ForecastStat, MinerStat, Rollup};
use crate::model::sanitize::sanitize;
use crate::model::value::{Field, Value};

use super::alter::{drifted, within};
use super::chance::{Chance, Stream};
use super::plan::Plan;
use super::stored::{StoredRow, placed, sanitized_error, spread_wide, wide_leads};
use super::wrong::WrongWriters;

/// Real differences for each cell of noise.
const DRIFT_PER_NOISE: usize = 4;

/// A stored text of before errors were sanitized.
const RAW_TEXT: &str = "timeout while reading https://198.51.100.77:8443/forecasts/a/b/run.json?sig=4f1e9c";

/// A rollup whose stored rows can be tampered with.
trait Stored: Rollup {
    /// Columns that the table does not let be NULL.
    const NOT_NULL: &'static [&'static str];
    fn cell(&self, index: usize) -> Value<'_>;
    fn put(&mut self, index: usize, value: Value<'_>) -> bool;
    fn key(&self) -> RowKey;
}

impl Stored for ForecastStat {
    const NOT_NULL: &'static [&'static str] = &["miner_hotkey", "forecast_init_time", "forecast_status"];

    fn cell(&self, index: usize) -> Value<'_> {
        match index.checked_sub(Self::COLUMNS.len()) {
            Some(wide) => self.wide[wide].value(),
            None => self.value(index),
        }
    }

    fn put(&mut self, index: usize, value: Value<'_>) -> bool {
        match index.checked_sub(Self::COLUMNS.len()) {
            Some(wide) => Field::from_value(value).map(|x| self.wide[wide] = x).is_some(),
            None => self.set(index, value),
        }
    }

    fn key(&self) -> RowKey {
        let forecast_run_id = self.forecast_run_id.clone();
        RowKey { miner_uid: self.miner_uid, forecast_run_id, run_id: self.run_id, ..RowKey::default() }
    }
}

impl Stored for MinerStat {
    const NOT_NULL: &'static [&'static str] = &[
        "miner_hotkey",
        "successful_forecasts",
        "failed_forecasts",
        "hosting_successes",
        "hosting_failures",
        "consecutive_successes",
        "consecutive_failures",
        "total_inference_time",
    ];

    fn cell(&self, index: usize) -> Value<'_> {
        self.value(index)
    }

    fn put(&mut self, index: usize, value: Value<'_>) -> bool {
        self.set(index, value)
    }

    fn key(&self) -> RowKey {
        RowKey { miner_uid: self.miner_uid, ..RowKey::default() }
    }
}

/// What becomes of one unit, or of the lifetime rollups. Columns are indexes into the planter's lists.
#[derive(Debug, Clone, Default, PartialEq)]
struct Share {
    cells: Vec<usize>,
    noise: Vec<usize>,
    missing: usize,
    extra: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Slot {
    Cell(usize),
    Missing,
    Extra,
}

/// The stored rows of one unit.
#[derive(Debug, Default)]
pub struct StoredUnit {
    pub rows: Vec<StoredRow>,
    /// Rows whose `forecast_run_id` belongs to no unit: retention has deleted their runs.
    pub strays: Vec<StoredRow>,
}

/// Turns right rollups into stored ones.
pub struct Planter {
    plan: Plan,
    /// Every column, and whether it can be tampered with: the key cannot.
    forecast_columns: Vec<Column>,
    shares: Vec<Share>,
    lifetime: Share,
    planted: Vec<Difference>,
    next_id: i64,
}

impl Planter {
    /// Distributes the plan's differences over its units. Refuses more than there are rows.
    pub fn new(plan: &Plan, units: usize) -> Result<Self> {
        let mut forecast_columns = ForecastStat::COLUMNS.to_vec();
        forecast_columns.extend(wide_leads().into_iter().map(Column::wide));
        let mut planter = Planter {
            plan: plan.clone(),
            forecast_columns,
            shares: vec![Share::default(); units],
            lifetime: Share::default(),
            planted: Vec::new(),
            next_id: 1,
        };
        let most = units * plan.miners;
        if plan.drift > most {
            let detail = format!("is {}; {units} forecasts of {} miners allow {most}", plan.drift, plan.miners);
            return Err(Error::new(ErrorKind::Usage, "generate: drift", detail));
        }
        planter.distribute();
        Ok(planter)
    }

    fn distribute(&mut self) {
        let mut chance = Chance::new(self.plan.seed, Stream::Schedule);
        let lifetime = (self.plan.drift / 4).min(self.plan.miners);
        let forecast = self.plan.drift - lifetime;
        let wide = |column: &Column| self.plan.leads.iter().any(|&lead| column.name == Column::wide(lead).name);
        let expected = |(at, column): &(usize, &Column)| *at < ForecastStat::COLUMNS.len() || wide(column);
        let columns: Vec<_> = self.forecast_columns.iter().enumerate().filter(expected).collect();
        let mut units: Vec<usize> = (0..self.shares.len()).collect();
        chance.shuffle(&mut units);
        for (slot, unit) in slots(&columns, &mut chance).take(forecast).zip(units.iter().cycle()) {
            self.shares[*unit].take(slot);
        }
        for (column, unit) in floats(&columns, &mut chance).take(forecast / DRIFT_PER_NOISE).zip(units.iter().cycle()) {
            self.shares[*unit].noise.push(column);
        }
        let columns: Vec<_> = MinerStat::COLUMNS.iter().enumerate().collect();
        let mut extra = self.plan.idle_uids().len();
        let fits = |slot: &Slot| *slot != Slot::Extra || extra.checked_sub(1).map(|left| extra = left).is_some();
        slots(&columns, &mut chance).filter(fits).take(lifetime).for_each(|slot| self.lifetime.take(slot));
        self.lifetime.noise = floats(&columns, &mut chance).take(lifetime / DRIFT_PER_NOISE).collect();
    }

    /// The stored rows of the unit at `place` among the units, from what is right.
    pub fn unit(&mut self, place: usize, unit: &Unit, right: Vec<ForecastStat>, wrong: &WrongWriters) -> Result<StoredUnit> {
        let mut rows = placed(right);
        rows.iter_mut().for_each(|row| spread_wide(&self.plan, row));
        let mut chance = Chance::new(self.plan.seed, Stream::Planted(place));
        let share = &self.shares[place];
        let templates = rows.clone();
        let columns = &self.forecast_columns;
        let cell = |row: &ForecastStat, at: usize, chance: &mut Chance| {
            let of = |row: &ForecastStat| match at.checked_sub(ForecastStat::COLUMNS.len()) {
                // A writer that has no leads to give has no column of theirs.
                Some(wide) => row.wide.get(wide).copied().flatten().map_or(Value::Null, Value::Float),
                None => row.cell(at).into_owned(),
            };
            (columns[at].group == Group::Scores).then(|| wrong.cell(row, of, chance)).flatten()
        };
        let found = plant(&mut rows, columns, share, self.plan.messy, cell, &mut chance)?;
        self.planted.extend(found);
        let (mut stored, mut strays) = (rows, Vec::new());
        let mut idle = self.plan.idle_uids().into_iter();
        for (number, template) in templates.into_iter().cycle().take(self.shares[place].extra).enumerate() {
            // Either a node that was never asked, or a run that retention has deleted.
            let idle = if (place + number).is_multiple_of(2) { idle.next() } else { None };
            match idle {
                Some(uid) => stored.push(self.extra(ForecastStat { miner_uid: Some(uid), ..template })),
                None => {
                    let purged = self.plan.purged_run(self.shares.len() * number + place);
                    let forecast_run_id = Some(purged.forecast_run_id);
                    let forecast_init_time = Some(purged.gfs_init);
                    strays.push(self.extra(ForecastStat { forecast_run_id, forecast_init_time, run_id: None, ..template }));
                }
            }
        }
        debug_assert!(stored.iter().all(|row| row.forecast_run_id.as_ref() == Some(&unit.forecast_run_id)));
        Ok(StoredUnit { rows: self.numbered(stored), strays: self.numbered(strays) })
    }

    /// The stored lifetime rollups, from what is right.
    pub fn miners(&mut self, mut rows: Vec<MinerStat>) -> Result<Vec<MinerStat>> {
        let mut chance = Chance::new(self.plan.seed, Stream::Planted(self.shares.len()));
        let template = rows.first().cloned().unwrap_or_default();
        let found = plant(&mut rows, MinerStat::COLUMNS, &self.lifetime, false, |_, _, _| None, &mut chance)?;
        self.planted.extend(found);
        for uid in self.plan.idle_uids().into_iter().take(self.lifetime.extra) {
            rows.push(self.extra(MinerStat { miner_uid: Some(uid), ..template.clone() }));
        }
        Ok(rows)
    }

    /// All that was planted so far, in the form that a comparison gives it: `stored` is what was planted.
    pub fn into_planted(self) -> Vec<Difference> {
        self.planted
    }

    fn extra<R: Stored>(&mut self, row: R) -> R {
        self.planted.push(whole_row(&row, Class::Extra));
        row
    }

    fn numbered(&mut self, rows: Vec<ForecastStat>) -> Vec<StoredRow> {
        let first = self.next_id;
        self.next_id += rows.len() as i64;
        (first..).zip(rows).map(|(id, row)| StoredRow { id, row }).collect()
    }
}

impl Share {
    fn take(&mut self, slot: Slot) {
        match slot {
            Slot::Cell(column) => self.cells.push(column),
            Slot::Missing => self.missing += 1,
            Slot::Extra => self.extra += 1,
        }
    }
}

/// Every kind of difference in turn, without end: each column, a missing row, an extra row, in an order of chance.
fn slots(columns: &[(usize, &Column)], chance: &mut Chance) -> impl Iterator<Item = Slot> + use<> {
    let cells = columns.iter().filter(|(_, column)| column.group != Group::Key).map(|(at, _)| Slot::Cell(*at));
    let mut slots: Vec<Slot> = cells.chain([Slot::Missing, Slot::Extra]).collect();
    chance.shuffle(&mut slots);
    slots.into_iter().cycle()
}

fn floats(columns: &[(usize, &Column)], chance: &mut Chance) -> impl Iterator<Item = usize> + use<> {
    let mut floats: Vec<_> = columns.iter().filter(|(_, column)| column.kind == Type::Float64).map(|(at, _)| *at).collect();
    chance.shuffle(&mut floats);
    floats.into_iter().cycle()
}

/// Alters these rows as the share says, and tells what it did.
fn plant<R: Stored>(
    rows: &mut Vec<R>,
    columns: &[Column],
    share: &Share,
    raw_texts: bool,
    wrong: impl Fn(&R, usize, &mut Chance) -> Option<(Cause, Value<'static>)>,
    chance: &mut Chance,
) -> Result<Vec<Difference>> {
    if share.missing + share.cells.len() > rows.len() {
        let detail = format!("{} rows are too few for {share:?}", rows.len());
        return Err(Error::new(ErrorKind::Data, format!("planting differences in {}", R::TABLE), detail));
    }
    let mut order: Vec<usize> = (0..rows.len()).collect();
    chance.shuffle(&mut order);
    let (gone, kept) = order.split_at(share.missing);
    let mut used = HashSet::new();
    let mut planted = Vec::new();
    for (number, &wanted) in share.cells.iter().enumerate() {
        // Two in a row of the table, mostly: one row may well have several wrong cells.
        let in_turn = kept.iter().copied().cycle().skip(number / 2).take(kept.len());
        let free = |at: usize| {
            let fits = |row: &usize| !used.contains(&(*row, at)) && is_checkable(&columns[at], &rows[*row].cell(at));
            in_turn.clone().find(fits).map(|row| (row, at))
        };
        // Another column where no row has evidence for this one.
        let others = (0..R::COLUMNS.len()).map(|step| (wanted + step) % R::COLUMNS.len());
        let mut candidates = std::iter::once(wanted).chain(others.filter(|&at| columns[at].group != Group::Key));
        let (row, at) = candidates.find_map(free).expect("some cell of the unit is as it should be");
        used.insert((row, at));
        let row = &mut rows[row];
        let column = &columns[at];
        let nullable = !R::NOT_NULL.contains(&column.name.as_ref());
        let before = row.cell(at).into_owned();
        let raw = raw_texts && column.name == "last_error_message" && chance.yes(0.5);
        let caused = wrong(row, at, chance);
        let cause = caused.as_ref().map(|(cause, _)| *cause);
        let after = match caused {
            Some((_, value)) => value,
            None if raw => Value::Text(RAW_TEXT.into()),
            None => drifted(column, nullable, &before, chance),
        };
        assert_eq!(
            classify(&after, &before, Tolerance::default()),
            CellClass::Drift,
            "what was planted in {} is a difference",
            column.name
        );
        planted.push(Difference { cause, ..change(row, at, column, Class::Drift, before, after) });
    }
    for &at in &share.noise {
        let start = chance.below(kept.len().max(1));
        let spot = kept.iter().cycle().skip(start).take(kept.len()).find(|&&row| {
            let right = rows[row].cell(at);
            !used.contains(&(row, at)) && is_checkable(&columns[at], &right) && within(&right).is_some()
        });
        let Some(&row) = spot else { continue };
        used.insert((row, at));
        let before = rows[row].cell(at).into_owned();
        let Some(after) = within(&before) else { continue };
        planted.push(change(&mut rows[row], at, &columns[at], Class::Within, before, after));
    }
    planted.extend(gone.iter().map(|&row| whole_row(&rows[row], Class::Missing)));
    let gone: HashSet<usize> = gone.iter().copied().collect();
    let mut place = 0..;
    rows.retain(|_| place.next().is_some_and(|row| !gone.contains(&row)));
    Ok(planted)
}

/// Whether a number that is stored in the place of this one would be drift. Where the evidence gives no number, a stored one
/// can rest on evidence that was purged since: it would be unproven (D6).
fn is_checkable(column: &Column, right: &Value<'_>) -> bool {
    match column.name.as_ref() {
        "era5_combined_score" | "era5_completeness" => !right.is_null() && *right != Value::Float(0.0),
        "forecast_score_initial" | "overall_forecast_score" | "avg_rmse" | "avg_acc" | "avg_skill_score" => !right.is_null(),
        name => !is_wide(name) || !right.is_null(),
    }
}

fn change<R: Stored>(
    row: &mut R,
    at: usize,
    column: &Column,
    class: Class,
    before: Value<'static>,
    after: Value<'static>,
) -> Difference {
    let key = row.key();
    assert!(row.put(at, after.clone()), "{} takes values of its own type", column.name);
    let stored = match (column.name.as_ref(), after) {
        ("last_error_message", Value::Text(text)) => Value::Text(sanitize(&text).into()),
        ("forecast_error_msg", Value::Json(error)) => Value::Json(std::borrow::Cow::Owned(sanitized_error(&error))),
        (_, after) => after,
    };
    Difference { table: R::TABLE, key, column: Some(column.name.to_string()), class, stored, recomputed: before, cause: None }
}

fn whole_row<R: Stored>(row: &R, class: Class) -> Difference {
    Difference { table: R::TABLE, key: row.key(), column: None, class, stored: Value::Null, recomputed: Value::Null, cause: None }
}

#[cfg(test)]
mod tests;
