//! What an operator sets up around the jobs: metrics, and what tells how a job went.

mod doctor;
mod metrics;
