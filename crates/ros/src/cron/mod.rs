//! `cron.schedule` and the other labels of containers that are started at set times: parsing and
//! calendar. It reads no clock; the applet `crontab` acts on it.

pub(crate) mod calendar;
mod field;
pub(crate) mod job;
mod parse;
pub(crate) mod schedule;
