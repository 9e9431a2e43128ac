//! Rollup rows as Arrow batches and back.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::array::{AsArray, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use serde_json::Value as Json;

use crate::error::{Error, ErrorKind, Result};

use super::columns::{Column, Type};
use super::evidence::StoredStat;
use super::ids::LeadHours;
use super::rollups::{ForecastStat, Rollup};
use super::time::Micros;
use super::value::{Value, canonical_json};
