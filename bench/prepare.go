package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"pgdrover/internal/pgtest"
)

// prepare finds or builds the contenders and starts PostgreSQL.
func prepare(ctx context.Context, o options, selected []scenario, progress io.Writer) (_ *bench, closeAll func(), err error) {
	var undo []func()
	cleanUp := func() {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
	}
	defer func() {
		if err != nil {
			cleanUp()
		}
	}()
	b := &bench{rounds: o.rounds, seconds: o.seconds, bulkBytes: 200e6, progress: progress}
	if o.quick {
		b.bulkBytes = 50e6
	}
	if err := raiseFileLimit(16384); err != nil {
		return nil, nil, err
	}
	if b.unprivileged, err = unprivilegedAccount(); err != nil {
		return nil, nil, err
	}
	if b.dir, err = os.MkdirTemp("", "pgdrover-bench-"); err != nil {
		return nil, nil, err
	}
	undo = append(undo, func() { os.RemoveAll(b.dir) })
	if err := b.give(b.dir); err != nil {
		return nil, nil, err
	}
	if err := b.findContenders(ctx, o, selected); err != nil {
		return nil, nil, err
	}
	postgres, err := pgtest.Find(ctx, 0)
	if err != nil {
		return nil, nil, err
	}
	if b.pgbench, err = postgres.Program("pgbench"); err != nil {
		return nil, nil, err
	}
	cluster, err := startCluster(ctx)
	if err != nil {
		return nil, nil, err
	}
	undo = append(undo, func() {
		if err := cluster.Close(); err != nil {
			fmt.Fprintf(progress, "bench: stop PostgreSQL: %v\n", err)
		}
	})
	b.pgPort = cluster.Port
	if err := b.fillDatabase(ctx, cluster); err != nil {
		return nil, nil, err
	}
	if slices.ContainsFunc(selected, func(sc scenario) bool { return sc.against != layoutINI }) && b.candidate != nil {
		if err := fillShards(ctx, cluster); err != nil {
			return nil, nil, err
		}
	}
	return b, cleanUp, nil
}

// findContenders fills in the reference, a newer one if a scenario needs it, and the candidate.
func (b *bench) findContenders(ctx context.Context, o options, selected []scenario) error {
	var err error
	if slices.ContainsFunc(selected, func(sc scenario) bool { return sc.against == layoutINI }) {
		if b.reference, err = findPgBouncer(ctx); err != nil {
			return err
		}
	}
	for _, sc := range selected {
		if sc.newer && !b.reference.prepared {
			b.newer, b.noNewer = newerPgBouncer(ctx, o.fetch)
			break
		}
	}
	if o.profiles != "" {
		if b.profiles, err = filepath.Abs(o.profiles); err != nil {
			return err
		}
		if err := os.MkdirAll(b.profiles, 0o755); err != nil {
			return err
		}
		if err := b.give(b.profiles); err != nil {
			return err
		}
	}
	if o.pgdrover == none {
		return nil
	}
	var path string
	if o.pgdrover == "" {
		path, err = b.build(ctx)
	} else {
		path, err = b.adopt(o.pgdrover)
	}
	if err != nil {
		return err
	}
	version, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return fmt.Errorf("%s --version: %w", path, err)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(version)), "\n")
	b.candidate = &contender{name: "pgdrover", version: first, command: []string{path}, prepared: true, profile: true}
	return nil
}

// build compiles this tree into the working folder.
func (b *bench) build(ctx context.Context) (string, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.dir, "pgdrover")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, ".")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build pgdrover (-pgdrover %s leaves it out): %w\n%s", none, err, out)
	}
	return path, b.give(path)
}

// adopt copies a program into the working folder, where the poolers' account may run it wherever it came from.
func (b *bench) adopt(program string) (string, error) {
	from, err := os.Open(program)
	if err != nil {
		return "", fmt.Errorf("-pgdrover: %w", err)
	}
	defer from.Close()
	path := filepath.Join(b.dir, "pgdrover")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return "", err
	}
	if _, err = io.Copy(to, from); err != nil {
		err = fmt.Errorf("copy %s: %w", program, err)
	}
	if err := errors.Join(err, to.Close()); err != nil {
		return "", err
	}
	return path, b.give(path)
}

// moduleRoot is the folder of go.mod.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	file := strings.TrimSpace(string(out))
	if file == "" || file == os.DevNull {
		return "", errors.New("run it inside pgdrover's source tree")
	}
	return filepath.Dir(file), nil
}
