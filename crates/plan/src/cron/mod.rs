//! `cron.schedule` and the other labels of containers that are started at set times: parsing and
//! calendar. It reads no clock; the applet `crontab` acts on it.

pub mod calendar;
mod field;
pub mod job;
mod parse;
pub mod schedule;
