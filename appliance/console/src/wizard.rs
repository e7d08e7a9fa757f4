//! The first run at the screen: a list of questions, one line to write in, and what will happen before it does.

use appliance_first_run::{Answers, Facts, Field, Plan, Problem, form, plan};

use crate::Key;

/// What was typed, so far: longer answers are refused anyway.
const LINE_CHARS_MAX: usize = appliance_first_run::ANSWER_BYTES_MAX;

/// What makes the site.
const YES: &str = "yes";

/// The answers and where one is in them.
#[derive(Debug, Default)]
pub(crate) struct Wizard {
    pub(crate) answers: Answers,
    pub(crate) at: usize,
    pub(crate) step: Step,
    /// Why the last line was not taken.
    pub(crate) refused: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) enum Step {
    /// Moving through the questions.
    #[default]
    List,
    /// Writing an answer.
    Write(String),
    /// Something has to be corrected first.
    Problems(Vec<Problem>),
    /// What will happen; made when `yes` is written.
    Review(Box<Plan>, String),
}

/// What a key led to.
#[derive(Debug)]
pub(crate) enum Went {
    On,
    Back,
    Make(Box<Plan>),
}

impl Wizard {
    pub(crate) fn fields(&self, facts: &Facts) -> Vec<Field> {
        form(&self.answers, facts)
    }

    pub(crate) fn key(&mut self, key: Key, facts: &Facts) -> Went {
        match std::mem::take(&mut self.step) {
            Step::List => self.list(key, facts),
            Step::Write(text) => {
                self.write(key, text, facts);
                Went::On
            }
            Step::Problems(problems) => {
                let away = matches!(key, Key::Enter | Key::Escape);
                self.step = if away { Step::List } else { Step::Problems(problems) };
                Went::On
            }
            Step::Review(plan, text) => self.review(key, plan, text),
        }
    }

    fn list(&mut self, key: Key, facts: &Facts) -> Went {
        let fields = self.fields(facts);
        let last = fields.len().saturating_sub(1);
        match key {
            Key::Up => self.at = self.at.saturating_sub(1),
            Key::Down => self.at = self.at.saturating_add(1).min(last),
            Key::First => self.at = 0,
            Key::Last => self.at = last,
            Key::Enter => {
                let text = fields.get(self.at).and_then(|field| field.given.clone());
                self.step = Step::Write(text.unwrap_or_default());
            }
            Key::Letter('v') => {
                self.step = match plan(&self.answers, facts) {
                    Ok(plan) => Step::Review(Box::new(plan), String::new()),
                    Err(problems) => {
                        let first = problems.first().map(|problem| problem.key);
                        let at = fields.iter().position(|field| Some(field.question.key) == first);
                        self.at = at.unwrap_or(self.at);
                        Step::Problems(problems)
                    }
                };
            }
            Key::Escape => return Went::Back,
            Key::Tab | Key::Back | Key::Letter(_) | Key::Quit => {}
        }
        Went::On
    }

    fn write(&mut self, key: Key, mut text: String, facts: &Facts) {
        let fields = self.fields(facts);
        let Some(field) = fields.get(self.at) else { return };
        match key {
            // Through what there is to choose, round and round.
            Key::Tab => {
                let now = field.choices.iter().position(|choice| *choice == text);
                let next = now.map_or(0, |now| now.saturating_add(1));
                let choice = field.choices.get(next).or_else(|| field.choices.first());
                text = choice.cloned().unwrap_or(text);
            }
            Key::Enter => match self.answers.set(field.question.key, &text) {
                Ok(()) => {
                    self.refused = None;
                    self.at = self.at.saturating_add(1).min(fields.len().saturating_sub(1));
                    return;
                }
                Err(error) => self.refused = Some(error.to_string()),
            },
            Key::Escape => {
                self.refused = None;
                return;
            }
            Key::Letter(_) | Key::Back | Key::Up | Key::Down | Key::First | Key::Last | Key::Quit => {
                key.write_in(&mut text, LINE_CHARS_MAX);
            }
        }
        self.step = Step::Write(text);
    }

    fn review(&mut self, key: Key, plan: Box<Plan>, mut text: String) -> Went {
        if key == Key::Escape {
            return Went::On;
        }
        if key == Key::Enter && text == YES {
            return Went::Make(plan);
        }
        key.write_in(&mut text, YES.len());
        self.step = Step::Review(plan, text);
        Went::On
    }
}
