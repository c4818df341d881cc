package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args   string
		rounds int
		err    string
	}{
		{args: "", rounds: 5},
		{args: "-quick", rounds: 2},
		{args: "-quick -rounds 7", rounds: 7},
		{args: "-only (", err: "-only"},
		{args: "-rounds -1", err: "-rounds -1"},
		{args: "-duration 0", err: "-duration 0"},
		{args: "-markdown -quick", err: "-markdown"},
		{args: "-markdown -only x", err: "-markdown"},
		{args: "stray", err: `"stray"`},
		{args: "-help", err: flag.ErrHelp.Error()},
	} {
		o, err := parseFlags(strings.Fields(tt.args), io.Discard)
		switch {
		case tt.err == "" && err != nil, tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%q: got error %v, want %q", tt.args, err, tt.err)
		case err == nil && o.rounds != tt.rounds:
			t.Errorf("%q: got %d rounds, want %d", tt.args, o.rounds, tt.rounds)
		}
	}
}

func TestOnlySelects(t *testing.T) {
	t.Parallel()
	o, err := parseFlags([]string{"-only", "^copy"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	selected, err := o.selected()
	if err != nil || len(selected) != 3 {
		t.Errorf("got %d scenarios, %v; want COPY out, COPY in and COPY in, binary", len(selected), err)
	}
	if o, err = parseFlags([]string{"-only", "no such thing"}, io.Discard); err != nil {
		t.Fatal(err)
	}
	if _, err := o.selected(); err == nil {
		t.Error("a selection of nothing gave no error")
	}
}

// The whole way, with the reference against itself: PostgreSQL, two PgBouncers, pgbench, bulk, memory.
func TestRunWithPgBouncer(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	if _, err := findPgBouncer(t.Context()); err != nil {
		t.Skipf("nothing to compare with: %v", err)
	}
	var out bytes.Buffer
	err := run(t.Context(), []string{
		"-pgdrover", none, "-quick", "-rounds", "1", "-duration", "1", "-fetch=false",
		"-only", "SELECT 1, 16|sha-256|copy in|big",
	}, &out, io.Discard)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"SELECT 1, 16 clients (8 + 8)", "scram-sha-256 (8 + 8)", "COPY in", "big result", "(A/A)", "PostgreSQL alone"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in the report:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "failed") {
		t.Errorf("something failed:\n%s", &out)
	}
}

// A candidate that cannot serve is reported and fails the run; the others are measured all the same.
func TestABrokenCandidateIsReported(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	if _, err := findPgBouncer(t.Context()); err != nil {
		t.Skipf("nothing to compare with: %v", err)
	}
	broken := t.TempDir() + "/pgdrover"
	// --version must work, or it would be refused at once.
	text := "#!/bin/sh\n[ \"$1\" = --version ] && { echo 'pgdrover test'; exit 0; }\necho 'this one is broken'\nexit 3\n"
	if err := os.WriteFile(broken, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := run(t.Context(), []string{"-pgdrover", broken, "-rounds", "1", "-duration", "1", "-only", "^COPY in"}, &out, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "pgdrover") {
		t.Errorf("got error %v, want one that names pgdrover", err)
	}
	if errors.Is(err, os.ErrPermission) {
		t.Errorf("the program could not be started: %v", err)
	}
	if !strings.Contains(out.String(), "(A/A)") {
		t.Errorf("the others were not measured:\n%s", &out)
	}
}

// What is started before a step of the preparation fails is taken down again, and the reason is told.
func TestPreparationFails(t *testing.T) {
	for _, path := range []string{"/no/such/pgbouncer", "/bin/true"} {
		t.Setenv(pgbouncerEnv, path)
		if err := run(t.Context(), []string{"-pgdrover", none}, io.Discard, io.Discard); err == nil {
			t.Errorf("%s=%s: got no error", pgbouncerEnv, path)
		}
	}
}
