package config

import (
	"bytes"
	"fmt"
	"strings"
)

// Limits on names and passwords, PgBouncer's.
const (
	maxDatabaseName = 63
	maxUserName     = 127
	maxPassword     = 65530
)

// login is one line of an auth_file.
type login struct {
	user     string
	password Secret
	line     int
}

// parseUserlist reads an auth_file: lines of "user" "password", where a doubled quote stands for one and
// whatever follows is ignored. Lines that begin with ; are comments. A file with any broken line is
// refused as a whole; the errors do not quote the line.
func parseUserlist(file string, text []byte) ([]login, error) {
	var (
		logins   []login
		problems Problems
	)
	line := 0
	for raw := range bytes.SplitSeq(text, []byte("\n")) {
		line++
		s := strings.Trim(string(raw), blanks)
		if s == "" || s[0] == ';' {
			continue
		}
		l, err := parseLogin(s)
		if err != nil {
			problems = append(problems, Problem{File: file, Line: line, Message: err.Error()})
			continue
		}
		l.line = line
		logins = append(logins, l)
	}
	if problems != nil {
		return nil, problems
	}
	return logins, nil
}

func parseLogin(s string) (login, error) {
	var l login
	if s[0] != '"' {
		return l, fmt.Errorf(`a line must begin with a user name in double quotes: "user" "password"`)
	}
	user, rest, ok := quotedWord(s)
	if !ok {
		return l, fmt.Errorf("the user name has no closing quote")
	}
	i := strings.IndexByte(rest, '"')
	if i < 0 {
		return l, fmt.Errorf("the user name is not followed by a password in double quotes")
	}
	password, _, ok := quotedWord(rest[i:])
	switch {
	case !ok:
		return l, fmt.Errorf("the password has no closing quote")
	case len(user) > maxUserName:
		return l, fmt.Errorf("the user name is longer than %d bytes", maxUserName)
	case len(password) > maxPassword:
		return l, fmt.Errorf("the password is longer than %d bytes", maxPassword)
	case user == "":
		return l, fmt.Errorf("the user name is empty")
	case strings.IndexByte(user, 0) >= 0 || strings.IndexByte(password, 0) >= 0:
		return l, fmt.Errorf("the line contains a zero byte")
	}
	l.user, l.password = user, Secret(password)
	return l, nil
}

// quotedWord reads a word in double quotes from the start of s; "" inside it is one quote.
func quotedWord(s string) (word, rest string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '"' {
			i++
			b.WriteByte('"')
			continue
		}
		return b.String(), s[i+1:], true
	}
	return "", "", false
}
