//! The page of all commands in the manual: Markdown, from the definition of the command line.

use clap::{Arg, Command};
use std::fmt::Write;

const BEGIN: &str = "# The command `ros`

```
sudo ros status
```

This page is made from the definition of the command line: `ros COMMAND --help` shows the same on
the machine. `rancherctl` is another name of `ros`. Commands that change the machine, or show
secrets, need root; [Without root](daily-work.md#without-root) lists those that do not.

| exit status | meaning |
|---|---|
| 0 | it is done |
| 1 | an error; `status`, `why` and `config validate`: something is wrong |
| 2 | the command line is wrong |

";

/// The page.
pub(super) fn page(mut ros: Command) -> String {
    // Fills in the complete names, and what every command has.
    ros.build();
    let mut text = BEGIN.to_owned();
    for command in visible(&ros) {
        add(command, 2, &mut text);
    }
    text.trim_end().to_owned() + "\n"
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set() && !is_help(command))
}

fn is_help(command: &Command) -> bool {
    command.get_name() == "help"
}

fn add(command: &Command, level: usize, text: &mut String) {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let _ = writeln!(text, "{} `{name}`\n", "#".repeat(level));
    if let Some(about) = command.get_about() {
        let aliases: Vec<String> =
            command.get_visible_aliases().map(|alias| format!("`{alias}`")).collect();
        let also = match aliases.is_empty() {
            true => String::new(),
            false => format!(" Also {}.", aliases.join(", ")),
        };
        let _ = writeln!(text, "{}.{also}\n", escaped(&about.to_string()));
    }
    let usage = command.clone().render_usage().to_string();
    let _ = writeln!(text, "```\n{}\n```\n", usage.trim_start_matches("Usage:").trim());
    let arguments: Vec<&Arg> = command.get_arguments().filter(|arg| is_shown(arg)).collect();
    if !arguments.is_empty() {
        text.push_str("| argument | meaning |\n|---|---|\n");
        arguments.iter().for_each(|argument| add_argument(argument, text));
        text.push('\n');
    }
    if let Some(help) = command.get_after_help() {
        let help = help.to_string();
        let examples = help.trim().trim_start_matches("Examples:\n");
        let lines = examples.lines().map(|line| line.strip_prefix("  ").unwrap_or(line));
        let lines: Vec<&str> = lines.collect();
        let _ = writeln!(text, "```\n{}\n```\n", lines.join("\n"));
    }
    for command in visible(command) {
        add(command, (level + 1).min(4), text);
    }
}

fn is_shown(argument: &Arg) -> bool {
    !argument.is_hide_set() && argument.get_id() != "help"
}

fn add_argument(argument: &Arg, text: &mut String) {
    let short = argument.get_short().map(|letter| format!("-{letter}"));
    let long = argument.get_long().map(|name| format!("--{name}"));
    let values = argument.get_value_names().filter(|_| argument.get_action().takes_values());
    let value = values.map(|names| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        names.join(" ")
    });
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let shown = match (names.is_empty(), value) {
        (true, value) => value.unwrap_or_else(|| argument.get_id().to_string()),
        (false, Some(value)) => format!("{} {value}", names.join(", ")),
        (false, None) => names.join(", "),
    };
    let mut meaning = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|value| value.display().to_string()).collect();
    if argument.get_action().takes_values() && !defaults.is_empty() {
        let _ = write!(meaning, "; default: {}", defaults.join(", "));
    }
    let possible: Vec<String> = match argument.get_action().takes_values() {
        true => {
            argument.get_possible_values().iter().map(|one| one.get_name().to_owned()).collect()
        }
        false => Vec::new(),
    };
    if !possible.is_empty() {
        let _ = write!(meaning, "; one of {}", possible.join(", "));
    }
    let _ = writeln!(text, "| `{}` | {} |", shown.replace('|', "\\|"), cell(&meaning));
}

/// In a table.
fn cell(text: &str) -> String {
    escaped(&text.replace('\n', " ")).replace('|', "\\|")
}

/// `<` would begin HTML, but not in code.
fn escaped(text: &str) -> String {
    let part = |(number, part): (usize, &str)| match number % 2 {
        0 => part.replace('<', "&lt;"),
        _ => part.to_owned(),
    };
    text.split('`').enumerate().map(part).collect::<Vec<_>>().join("`")
}

#[cfg(test)]
mod tests {
    use super::page;
    use clap::{Arg, ArgAction, Command};

    #[test]
    fn a_page_has_each_visible_command_with_its_arguments_and_examples() {
        let argument = Arg::new("n").short('n').long("lines").value_name("NUMBER");
        let logs = Command::new("logs")
            .about("Show what <is> logged")
            .arg(argument.default_value("100").help("Lines | from the end"))
            .arg(Arg::new("f").short('f').action(ArgAction::SetTrue).help("Follow"))
            .after_help("Examples:\n  ros logs -f   as it comes\n");
        let list = Command::new("list").about("List");
        let keys = Command::new("keys").about("Keys").visible_alias("k").subcommand(list);
        let hidden = Command::new("dev").hide(true);
        let text = page(Command::new("ros").subcommands([logs, keys, hidden]));
        for part in [
            "\n## `ros logs`\n\nShow what &lt;is> logged.\n",
            "| `-n, --lines NUMBER` | Lines \\| from the end; default: 100 |\n",
            "| `-f` | Follow |\n",
            "```\nros logs -f   as it comes\n```\n",
            "\n## `ros keys`\n\nKeys. Also `k`.\n",
            "\n### `ros keys list`\n\nList.\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        assert!(!text.contains("`ros dev`") && !text.contains("`ros help`"), "{text}");
    }

    #[test]
    fn the_page_of_ros_names_its_commands() {
        use clap::CommandFactory;
        let text = page(super::super::Cli::command());
        for name in ["`ros config apply`", "`ros os upgrade`", "`ros why`", "`ros install`"] {
            assert!(text.contains(&format!("# {name}\n")), "{name}");
        }
        assert!(!text.contains("`ros dev`"));
    }
}
