//! `GET /containers/{id}/top`: the processes of a container in the columns of ps(1). They are read
//! from /proc, so the image needs no program for it.

use super::stats::{TICKS, text, total_memory};
use corral_engine::error::EngineError;
use corral_engine::paths;
use corral_engine::spec::Snapshot;
use corral_engine::time;
use corral_machine::proc_stat;
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

/// A process as /proc has it.
struct Process {
    uid: String,
    pid: String,
    ppid: String,
    state: String,
    /// Its name, and its complete command line.
    name: String,
    command: String,
    /// Seconds of processor, seconds since it began, and the time of day when it did.
    used: u64,
    age: u64,
    began: u64,
    /// KiB.
    virtual_size: u64,
    resident: u64,
}

/// The names of a column, its title, and what stands in it.
type Column = (&'static [&'static str], &'static str, fn(&Process) -> String);

const COLUMNS: [Column; 16] = [
    // The title that ps(1) gives to names of users in its full format.
    (&["fuid"], "UID", Process::user),
    (&["user", "euser"], "USER", Process::user),
    (&["uid", "euid"], "UID", |process| process.uid.clone()),
    (&["pid"], "PID", |process| process.pid.clone()),
    (&["ppid"], "PPID", |process| process.ppid.clone()),
    (&["c"], "C", |process| process.load().to_string()),
    (&["pcpu", "%cpu"], "%CPU", |process| format!("{}.0", process.load())),
    (&["pmem", "%mem"], "%MEM", Process::share_of_memory),
    (&["vsz", "vsize"], "VSZ", |process| process.virtual_size.to_string()),
    (&["rss", "rssize"], "RSS", |process| process.resident.to_string()),
    (&["tty", "tt", "tname"], "TTY", |_| "?".to_owned()),
    (&["stat", "s", "state"], "STAT", |process| process.state.clone()),
    (&["stime", "start", "start_time"], "STIME", Process::start),
    (&["time", "cputime"], "TIME", Process::time),
    (&["comm", "ucmd"], "COMMAND", |process| process.name.clone()),
    (&["cmd", "args", "command"], "CMD", |process| process.command.clone()),
];

const FULL: &str = "fuid,pid,ppid,c,stime,tty,time,cmd";
const LONG: &str = "user,pid,pcpu,pmem,vsz,rss,tty,stat,stime,time,cmd";

/// The processes of a container; `wanted` are arguments of ps: `-ef`, `aux`, `-o pid,cmd`.
pub(super) fn list(container: &Snapshot, wanted: &str) -> Result<Value, EngineError> {
    let columns = columns(wanted)?;
    let members =
        fs::read_to_string(paths::cgroup(&container.id).join("cgroup.procs")).map_err(|error| {
            EngineError::Failed(format!(
                "reading the processes of {}: {error}",
                container.spec.name
            ))
        })?;
    let processes = members.lines().filter_map(Process::load_from_proc);
    let rows: Vec<Vec<String>> = processes
        .map(|process| columns.iter().map(|(_, _, value)| value(&process)).collect())
        .collect();
    let titles: Vec<&str> = columns.iter().map(|(_, title, _)| *title).collect();
    Ok(json!({"Titles": titles, "Processes": rows}))
}

fn columns(wanted: &str) -> Result<Vec<&'static Column>, EngineError> {
    let wrong = |what: &str| EngineError::BadRequest(format!("ps arguments {wanted:?}: {what}"));
    let mut format = FULL.to_owned();
    let mut words = wanted.split_whitespace();
    while let Some(word) = words.next() {
        let flags = word.trim_start_matches('-');
        match flags.split_once('o') {
            Some((flags, rest)) if flags.chars().all(|flag| "eAax".contains(flag)) => {
                let fields = if rest.is_empty() { words.next() } else { Some(rest) };
                fields.ok_or_else(|| wrong("-o expects column names"))?.clone_into(&mut format);
            }
            _ if flags.contains('u') && flags.chars().all(|flag| "eAaxu".contains(flag)) => {
                LONG.clone_into(&mut format);
            }
            _ if flags.chars().all(|flag| "eAaxf".contains(flag)) => {}
            _ => return Err(wrong("use -ef, aux or -o COLUMNS")),
        }
    }
    let find = |name: &str| {
        let found = COLUMNS.iter().find(|(names, ..)| names.contains(&name.trim()));
        found.ok_or_else(|| wrong(&format!("unknown column {name:?}")))
    };
    let columns: Vec<&Column> = format.split(',').map(find).collect::<Result<_, _>>()?;
    if !columns.iter().any(|(names, ..)| names.contains(&"pid")) {
        return Err(wrong("the column pid is required, as in Docker"));
    }
    Ok(columns)
}

impl Process {
    /// None for one that has ended.
    fn load_from_proc(pid: &str) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let field = |number: usize| proc_stat::field(&stat, number);
        let value =
            |number: usize| field(number).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned();
        let name = field(2)?.to_owned();
        let status = text(&format!("/proc/{pid}/status"));
        let of_status = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next().map(str::to_owned)
        };
        let uptime = text("/proc/uptime");
        let up_since =
            uptime.split(['.', ' ']).next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let age = up_since.saturating_sub(value(22) / TICKS);
        Some(Process {
            uid: of_status("Uid:").unwrap_or_else(|| "0".to_owned()),
            pid: pid.to_owned(),
            ppid: field(4)?.to_owned(),
            state: field(3)?.to_owned(),
            command: if line.is_empty() { format!("[{name}]") } else { line },
            name,
            used: (value(14) + value(15)) / TICKS,
            age,
            began: time::now().saturating_sub(Duration::from_secs(age)).as_secs() % 86_400,
            virtual_size: value(23) / 1024,
            resident: of_status("VmRSS:").and_then(|size| size.parse().ok()).unwrap_or(0),
        })
    }

    /// A container's accounts are its own: only root is the same everywhere.
    fn user(&self) -> String {
        if self.uid == "0" { "root".to_owned() } else { self.uid.clone() }
    }

    fn load(&self) -> u64 {
        (self.used * 100).checked_div(self.age).unwrap_or(0)
    }

    fn share_of_memory(&self) -> String {
        let thousandths = (self.resident * 1024 * 1000).checked_div(total_memory()).unwrap_or(0);
        format!("{}.{}", thousandths / 10, thousandths % 10)
    }

    fn start(&self) -> String {
        format!("{:02}:{:02}", self.began / 3600, self.began / 60 % 60)
    }

    fn time(&self) -> String {
        format!("{:02}:{:02}:{:02}", self.used / 3600, self.used / 60 % 60, self.used % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn arguments_of_ps_choose_the_columns() {
        let titles = |wanted: &str| {
            columns(wanted)
                .map(|list| list.iter().map(|(_, title, _)| *title).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(titles("").unwrap(), "UID PID PPID C STIME TTY TIME CMD");
        assert_eq!(titles("-ef").unwrap(), titles("").unwrap());
        assert_eq!(titles("aux").unwrap(), "USER PID %CPU %MEM VSZ RSS TTY STAT STIME TIME CMD");
        for wanted in ["-o pid,comm", "-opid,comm", "-eo pid,comm", "o pid,comm"] {
            assert_eq!(titles(wanted).unwrap(), "PID COMMAND", "{wanted}");
        }
        for (wanted, what) in [
            ("-o", "expects column names"),
            ("-o comm", "column pid is required"),
            ("-o pid,x", "unknown column"),
            ("--forest", "use -ef"),
        ] {
            let error = titles(wanted).unwrap_err().to_string();
            assert!(error.contains(what), "{wanted}: {error}");
        }
    }
}
