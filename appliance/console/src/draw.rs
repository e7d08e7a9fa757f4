//! The picture: 80 columns and 24 lines are enough, as a serial console has; more is used where there is more.

use appliance_first_run::{Nic, Notice, Plan, Problem};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize as _},
    text::{Line as Text, Span},
    widgets::{Block, Paragraph, Wrap},
};

use crate::{
    Console, Done, Level, Line, Seen,
    installer::Installer,
    qr,
    wizard::{Step, Wizard},
};

/// Narrowest place in which health and addresses can still be read beside the code.
const TEXT_COLUMNS_MIN: u16 = 38;

impl Console {
    /// Draws all of it.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let [head, body, foot] =
            Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)])
                .areas(frame.area());
        let name = self.seen.as_ref().and_then(|seen| seen.site.as_deref()).unwrap_or("no site yet");
        let title = format!(" Scalerforge {} · {name}", env!("CARGO_PKG_VERSION"));
        frame.render_widget(Paragraph::new(title).style(Style::new().add_modifier(Modifier::REVERSED)), head);
        let hint = self.body(frame, body);
        frame.render_widget(Paragraph::new(format!(" {}", self.busy.as_ref().unwrap_or(&hint))).bold(), foot);
    }

    /// Draws what is in the middle; which keys mean something there.
    fn body(&self, frame: &mut Frame<'_>, body: Rect) -> String {
        if let Some(done) = &self.done {
            result(frame, body, done);
            return "Enter goes on".to_owned();
        }
        if let Some(installed) = &self.installed {
            let (title, text, hint) = match installed {
                Ok(next) => ("It is installed", next, "Enter: restart"),
                Err(why) => ("Nothing was installed", why, "Enter goes on"),
            };
            page(frame, body, title, vec![Text::from(text.as_str())]);
            return hint.to_owned();
        }
        if let Some(installer) = &self.installer {
            return drives(frame, body, installer).to_owned();
        }
        let Some(seen) = &self.seen else { return "looking around…".to_owned() };
        if let Some(wizard) = &self.wizard {
            wizard_body(frame, body, wizard, seen);
            return wizard_hint(wizard);
        }
        overview(frame, body, seen);
        let mut hint = match seen.site {
            Some(_) => "the page has everything else",
            None => "Enter: set it up here · l: listen again",
        }
        .to_owned();
        if seen.live {
            hint.push_str(" · i: install on a drive");
        }
        hint
    }
}

/// The drives, and the words for the one that was taken.
fn drives(frame: &mut Frame<'_>, body: Rect, installer: &Installer) -> &'static str {
    let mut lines = Vec::new();
    for (index, target) in installer.targets.iter().enumerate() {
        let here = index == installer.at;
        let style = if here { Style::new().bold() } else { Style::new() };
        let mark = if here { "▸" } else { " " };
        lines.push(Text::styled(format!("{mark} {}", target.called), style));
        lines.push(Text::from(format!("    {}", target.what)));
    }
    if installer.targets.is_empty() {
        lines.push(Text::from("No drive: fit one, or switch its controller on in the firmware's setup."));
    }
    let ask = match (&installer.typed, installer.chosen()) {
        (Some(typed), Some(target)) => vec![
            Text::from(format!(" Everything on it is gone then. To do it, type: {}", target.words)),
            Text::from(format!(" {typed}_").bold()),
        ],
        (Some(_) | None, _) => Vec::new(),
    };
    let [text, foot] = Layout::vertical([Constraint::Min(1), Constraint::Length(2)]).areas(body);
    page(frame, text, "Install on a drive of this machine", lines);
    frame.render_widget(Paragraph::new(ask), foot);
    if installer.typed.is_some() {
        "Enter: install · Esc: another drive"
    } else {
        "↑ ↓ move · Enter: take it · Esc: leave"
    }
}

fn overview(frame: &mut Frame<'_>, body: Rect, seen: &Seen) {
    let code = seen.page.as_deref().map(qr::lines).unwrap_or_default();
    let wide = code.first().map_or(0, |line| u16::try_from(line.chars().count()).unwrap_or(u16::MAX));
    let high = u16::try_from(code.len()).unwrap_or(u16::MAX);
    let fits = high <= body.height && wide.saturating_add(TEXT_COLUMNS_MIN) <= body.width;
    let wide = if fits { wide } else { 0 };
    let [text, side] = Layout::horizontal([Constraint::Min(1), Constraint::Length(wide)]).areas(body);
    if fits {
        let light = Style::new().fg(Color::White).bg(Color::Black);
        let lines: Vec<Text<'_>> = code.into_iter().map(|line| Text::styled(line, light)).collect();
        frame.render_widget(Paragraph::new(lines), side);
    }
    let mut lines = vec![Text::default()];
    match &seen.page {
        Some(page) => {
            lines.push(Text::from("In a browser, or scan the code:"));
            // What stands behind the # is for the code; a person types it as what the page asks for.
            let typed = page.split('#').next().unwrap_or(page);
            lines.push(Text::from(format!("  {typed}").bold()));
        }
        None => {
            lines.push(Text::from("No page yet: no port has an address.".bold()));
            lines.push(Text::from(if seen.site.is_some() {
                "  Does the uplink have its cable, and a DHCP server at its end?"
            } else {
                "  Plug a port into a network with DHCP, or press Enter: it is set up here."
            }));
        }
    }
    if let Some(secret) = &seen.secret {
        lines.push(Text::from(vec![Span::from("  It asks for the code "), secret.as_str().bold()]));
    }
    lines.push(Text::default());
    lines.extend(seen.facts.nics.iter().map(port));
    lines.push(Text::default());
    lines.extend(seen.health.iter().map(health));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), text);
}

fn port(nic: &Nic) -> Text<'_> {
    let addresses: Vec<String> =
        nic.addresses.iter().map(|(address, bits)| format!("{address}/{bits}")).collect();
    let what = match (nic.carrier, addresses.is_empty()) {
        (_, false) => addresses.join(" "),
        (true, true) => "no address".to_owned(),
        (false, true) => "no cable".to_owned(),
    };
    let servers = nic.heard.as_ref().map_or(&[][..], |heard| &heard.servers);
    let others: String = servers.iter().map(|server| format!(" · DHCP server {server}")).collect();
    Text::from(format!("  {:<10} {what}{others}", nic.name))
}

fn health(line: &Line) -> Text<'_> {
    let (mark, color) = match line.level {
        Level::Good => ("ok", Color::Green),
        Level::Warn => (" !", Color::Yellow),
        Level::Bad => ("!!", Color::Red),
    };
    Text::from(vec![
        Span::styled(format!("{mark} "), Style::new().fg(color).bold()),
        Span::from(line.text.as_str()),
    ])
}

fn wizard_hint(wizard: &Wizard) -> String {
    let text = match &wizard.step {
        Step::List => "↑ ↓ move · Enter: answer · v: what will happen · Esc: leave",
        Step::Write(_) => "Enter takes it · empty takes it back · Tab: choices · Esc: leave it",
        Step::Problems(_) => "Enter: correct it",
        Step::Review(..) => "write `yes` and Enter to make the site · Esc: change something",
    };
    wizard.refused.clone().unwrap_or_else(|| text.to_owned())
}

fn wizard_body(frame: &mut Frame<'_>, body: Rect, wizard: &Wizard, seen: &Seen) {
    match &wizard.step {
        Step::List => questions(frame, body, wizard, seen, None),
        Step::Write(text) => questions(frame, body, wizard, seen, Some(text)),
        Step::Problems(problems) => {
            page(frame, body, "This cannot be done yet", problems.iter().flat_map(problem).collect())
        }
        Step::Review(plan, typed) => review(frame, body, plan, typed),
    }
}

/// The questions, those around the current one where not all have room.
fn questions(frame: &mut Frame<'_>, body: Rect, wizard: &Wizard, seen: &Seen, typed: Option<&str>) {
    let fields = wizard.fields(&seen.facts);
    let [list, help] = Layout::vertical([Constraint::Min(1), Constraint::Length(2)]).areas(body);
    let room = usize::from(list.height);
    let first = wizard.at.saturating_sub(room.saturating_sub(1));
    let mut lines = Vec::new();
    for (index, field) in fields.iter().enumerate().skip(first).take(room) {
        let here = index == wizard.at;
        let mark = if here { "▸" } else { " " };
        let label = format!("{mark} {:<30} ", field.question.label);
        let style = if here { Style::new().bold() } else { Style::new() };
        let answer = match (typed.filter(|_| here), &field.given, &field.proposal) {
            (Some(typed), _, _) => Span::styled(format!("{typed}_"), style.add_modifier(Modifier::REVERSED)),
            (None, Some(given), _) => Span::styled(given.clone(), style),
            (None, None, Some(proposal)) => Span::styled(format!("({proposal})"), style),
            (None, None, None) if field.question.needed => {
                Span::styled("needed", Style::new().fg(Color::Yellow))
            }
            (None, None, None) => Span::from("-"),
        };
        lines.push(Text::from(vec![Span::styled(label, style), answer]));
    }
    frame.render_widget(Paragraph::new(lines), list);
    if let Some(field) = fields.get(wizard.at) {
        let choices = if field.choices.is_empty() {
            String::new()
        } else {
            format!(" · {}", field.choices.join(", "))
        };
        let text = vec![
            Text::default(),
            Text::from(format!("  {}: {}{choices}", field.question.key, field.question.help)),
        ];
        frame.render_widget(Paragraph::new(text), help);
    }
}

fn problem(problem: &Problem) -> Vec<Text<'_>> {
    vec![
        Text::from(vec![problem.key.bold(), Span::from(" "), Span::from(problem.what.as_str())]),
        Text::from(format!("  {}", problem.next)),
    ]
}

fn notice(notice: &Notice) -> Vec<Text<'_>> {
    let what =
        vec![Span::styled("! ", Style::new().fg(Color::Yellow).bold()), Span::from(notice.what.as_str())];
    vec![Text::from(what), Text::from(format!("  {}", notice.next))]
}

fn review(frame: &mut Frame<'_>, body: Rect, plan: &Plan, typed: &str) {
    let mut lines: Vec<Text<'_>> = plan.will.iter().map(|line| Text::from(format!("· {line}"))).collect();
    lines.extend(plan.notices.iter().flat_map(notice));
    let [text, ask] = Layout::vertical([Constraint::Min(1), Constraint::Length(1)]).areas(body);
    page(frame, text, "This will happen", lines);
    frame.render_widget(Paragraph::new(format!(" Make the site? {typed}_")).bold(), ask);
}

fn result(frame: &mut Frame<'_>, body: Rect, done: &Result<Done, String>) {
    let (title, lines) = match done {
        Ok(done) => (
            "The site is made",
            vec![
                Text::from("The page asks for the user `admin` and this password:"),
                Text::default(),
                Text::from(format!("    {}", done.password).bold()),
                Text::default(),
                Text::from("Write it down: it is shown this once, and nobody can read it out again."),
            ],
        ),
        Err(why) => ("No site was made", vec![Text::from(why.as_str())]),
    };
    page(frame, body, title, lines);
}

fn page(frame: &mut Frame<'_>, body: Rect, title: &str, lines: Vec<Text<'_>>) {
    let block = Block::bordered().title(format!(" {title} "));
    frame.render_widget(Paragraph::new(lines).block(block).wrap(Wrap { trim: false }), body);
}
