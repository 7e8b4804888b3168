//! Rust source as tokens, and what can be read from them: paths inside the crate and functions.
//!
//! Enough of the language to tell code from comments and literals; macros are not expanded.

#[derive(Debug, PartialEq, Clone)]
pub enum Kind {
    Word(String),
    Punct(char),
    /// `::`
    PathSep,
    /// A string, character or number; what it says does not matter here.
    Literal,
}

#[derive(Debug)]
pub struct Token {
    pub kind: Kind,
    pub line: usize,
}

/// Cuts Rust source into tokens, dropping comments, spaces and the contents of literals.
struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        text: text.as_bytes(),
        at: 0,
        line: 1,
        tokens: Vec::new(),
    };
    while lexer.at < lexer.text.len() {
        lexer.step();
    }
    lexer.tokens
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn bump(&mut self) {
        if self.peek(0) == b'\n' {
            self.line += 1;
        }
        self.at += 1;
    }

    fn push(&mut self, kind: Kind, line: usize) {
        self.tokens.push(Token { kind, line });
    }

    fn step(&mut self) {
        let line = self.line;
        match self.peek(0) {
            b'/' if self.peek(1) == b'/' => {
                while self.at < self.text.len() && self.peek(0) != b'\n' {
                    self.at += 1;
                }
            }
            b'/' if self.peek(1) == b'*' => self.block_comment(),
            b'"' => self.string(0),
            b'\'' => self.quote(),
            b'0'..=b'9' => {
                self.take_word();
                self.push(Kind::Literal, line);
            }
            b'r' | b'b' | b'c' if self.literal_prefix() => {}
            b if b == b'_' || b.is_ascii_alphabetic() || b >= 0x80 => {
                let word = self.take_word();
                self.push(Kind::Word(word), line);
            }
            b':' if self.peek(1) == b':' => {
                self.at += 2;
                self.push(Kind::PathSep, line);
            }
            b if b.is_ascii_whitespace() => self.bump(),
            b => {
                self.at += 1;
                self.push(Kind::Punct(char::from(b)), line);
            }
        }
    }

    fn take_word(&mut self) -> String {
        let from = self.at;
        while matches!(self.peek(0), b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | 0x80..) {
            self.at += 1;
        }
        String::from_utf8_lossy(&self.text[from..self.at]).into_owned()
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.text.len() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => (depth, self.at) = (depth + 1, self.at + 2),
                (b'*', b'/') => (depth, self.at) = (depth - 1, self.at + 2),
                _ => self.bump(),
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Consumes `b"`, `r#"`, `br"`, `c"`, `b'` and the like; false when a plain word starts here.
    fn literal_prefix(&mut self) -> bool {
        let mut ahead = 1;
        if self.peek(0) != b'r' && self.peek(1) == b'r' {
            ahead = 2;
        }
        let raw = self.peek(ahead - 1) == b'r';
        let mut hashes = 0;
        while raw && self.peek(ahead + hashes) == b'#' {
            hashes += 1;
        }
        match self.peek(ahead + hashes) {
            b'"' if raw => {
                self.at += ahead + hashes;
                self.raw_string(hashes);
            }
            b'"' => self.string(ahead),
            b'\'' if self.peek(0) == b'b' && !raw => {
                self.at += 1;
                self.quote();
            }
            _ => return false,
        }
        true
    }

    fn raw_string(&mut self, hashes: usize) {
        let line = self.line;
        self.bump();
        while self.at < self.text.len() {
            let closes = self.peek(0) == b'"' && (1..=hashes).all(|ahead| self.peek(ahead) == b'#');
            self.bump();
            if closes {
                self.at += hashes;
                break;
            }
        }
        self.push(Kind::Literal, line);
    }

    fn string(&mut self, prefix: usize) {
        let line = self.line;
        self.at += prefix + 1;
        while self.at < self.text.len() && self.peek(0) != b'"' {
            if self.peek(0) == b'\\' {
                self.bump();
            }
            self.bump();
        }
        self.at += 1;
        self.push(Kind::Literal, line);
    }

    /// A character literal, or a lifetime, which is dropped.
    fn quote(&mut self) {
        let line = self.line;
        let is_char = self.peek(1) == b'\\'
            || self.peek(2) == b'\''
            || self.peek(1) >= 0x80
            || !(self.peek(1) == b'_' || self.peek(1).is_ascii_alphanumeric());
        self.at += 1;
        if !is_char {
            self.take_word();
            return;
        }
        while self.at < self.text.len() && self.peek(0) != b'\'' {
            if self.peek(0) == b'\\' {
                self.bump();
            }
            self.bump();
        }
        self.at += 1;
        self.push(Kind::Literal, line);
    }
}

pub fn word(tokens: &[Token], at: usize) -> Option<&str> {
    match tokens.get(at).map(|token| &token.kind) {
        Some(Kind::Word(word)) => Some(word),
        _ => None,
    }
}

pub fn is(tokens: &[Token], at: usize, kind: &Kind) -> bool {
    tokens.get(at).is_some_and(|token| token.kind == *kind)
}

fn is_punct(tokens: &[Token], at: usize, punct: char) -> bool {
    is(tokens, at, &Kind::Punct(punct))
}

/// An absolute path inside the crate that a source file names.
#[derive(Debug, PartialEq)]
pub struct Reference {
    pub line: usize,
    pub path: Vec<String>,
}

/// Every `crate::` and `super::` path of a file whose module path is `module`.
pub fn references(tokens: &[Token], module: &[String]) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut here = module.to_vec();
    // For each open brace: whether it opened an inline module.
    let mut braces: Vec<bool> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if word(tokens, at) == Some("mod") && is_punct(tokens, at + 2, '{') {
            here.push(word(tokens, at + 1).unwrap_or_default().to_owned());
            braces.push(true);
            at += 3;
            continue;
        }
        let rooted = at == 0 || !is(tokens, at - 1, &Kind::PathSep);
        match &tokens[at].kind {
            Kind::Punct('{') => braces.push(false),
            Kind::Punct('}') if braces.pop() == Some(true) => {
                here.pop();
            }
            Kind::Word(first)
                if rooted
                    && matches!(first.as_str(), "crate" | "super")
                    && is(tokens, at + 1, &Kind::PathSep) =>
            {
                at = path_tree(tokens, at, &here, &mut found);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads one path, or a tree of them in braces, and returns the position after it.
fn path_tree(
    tokens: &[Token],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<Reference>,
) -> usize {
    let mut path = prefix.to_vec();
    loop {
        let line = tokens.get(at).map_or(0, |token| token.line);
        match tokens.get(at).map(|token| &token.kind) {
            Some(Kind::Word(name)) => {
                match name.as_str() {
                    "crate" => path.clear(),
                    "self" => {}
                    "super" => {
                        path.pop();
                    }
                    name => path.push(name.to_owned()),
                }
                at += 1;
            }
            Some(Kind::Punct('*')) => {
                path.push("*".to_owned());
                at += 1;
            }
            Some(Kind::Punct('{')) => {
                at += 1;
                while at < tokens.len() && !is_punct(tokens, at, '}') {
                    at = path_tree(tokens, at, &path, found);
                    while at < tokens.len()
                        && !is_punct(tokens, at, ',')
                        && !is_punct(tokens, at, '}')
                    {
                        at += 1;
                    }
                    if is_punct(tokens, at, ',') {
                        at += 1;
                    }
                }
                return at + 1;
            }
            _ => at += 1,
        }
        if !is(tokens, at, &Kind::PathSep) {
            found.push(Reference { line, path });
            return at;
        }
        at += 1;
    }
}

/// Name, first line and length of every function with a body.
pub fn functions(tokens: &[Token]) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        if word(tokens, at) != Some("fn") {
            continue;
        }
        let Some(name) = word(tokens, at + 1) else {
            continue;
        };
        let mut depth = 0_i32;
        let mut in_body = false;
        for token in &tokens[at..] {
            match token.kind {
                Kind::Punct('(' | '[') => depth += 1,
                Kind::Punct(')' | ']') => depth -= 1,
                Kind::Punct(';') if depth == 0 && !in_body => break,
                Kind::Punct('{') => {
                    in_body |= depth == 0;
                    depth += 1;
                }
                Kind::Punct('}') => {
                    depth -= 1;
                    if depth == 0 && in_body {
                        let first = tokens[at].line;
                        found.push((name.to_owned(), first, token.line - first + 1));
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    found
}
