package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Timing of the file watch.
const (
	watchSettle   = 100 * time.Millisecond // quiet time after an event before files are read
	watchSettleAt = time.Second            // but no later than this after the first event
	watchPoll     = 5 * time.Second        // how often files are read if the system cannot notify us
)

// Reloaded tells of a reload that the file watch made, or why there is none.
type Reloaded struct {
	Files    []string  // what had changed
	Err      error     // why the change was rejected, or why watching is limited; nil if it is in force
	Warnings []Warning // of the configuration now in force, if Err is nil
	Pending  []string  // settings that wait for a restart, if Err is nil
}

// Watch reloads the configuration when one of the files it was made from changes, is replaced, appears, or
// is reached through another symbolic link, until ctx is done. Touching a file without changing it does
// nothing. Each reload is reported, rejected ones too; tell is called from Watch's goroutine. Where the
// system cannot notify of changes, files are read every few seconds instead, which is reported once.
func (m *Manager) Watch(ctx context.Context, tell func(Reloaded)) {
	w, err := newFolderWatch()
	if err != nil {
		tell(Reloaded{Err: fmt.Errorf("cannot be notified of changed files, reading them every %s instead: %w", watchPoll, err)})
		m.poll(ctx, tell)
		return
	}
	defer w.close()
	var (
		settle  <-chan time.Time
		first   time.Time
		limited string
	)
	soon := func() {
		if settle == nil {
			first = time.Now()
		}
		settle = time.After(min(watchSettle, max(0, watchSettleAt-time.Since(first))))
	}
	// Whatever changed before a folder was watched raised no event, hence another look after arm.
	w.arm(m.watchedFiles())
	soon()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-w.fs.Events:
			if !ok {
				return
			}
			if w.concerns(filepath.Clean(e.Name)) {
				soon()
			}
		case <-w.fs.Errors: // events were lost: look at everything
			soon()
		case <-settle:
			settle = nil
			m.checkFiles(ctx, tell)
			if w.arm(m.watchedFiles()) {
				soon()
			}
			if reason := w.trouble(); reason != limited {
				limited = reason
				if reason != "" {
					tell(Reloaded{Err: errors.New(reason)})
				}
			}
		}
	}
}

// poll is Watch without the help of the system.
func (m *Manager) poll(ctx context.Context, tell func(Reloaded)) {
	t := time.NewTicker(watchPoll)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			m.checkFiles(ctx, tell)
		}
	}
}

func (m *Manager) checkFiles(ctx context.Context, tell func(Reloaded)) {
	if ctx.Err() != nil {
		return
	}
	changed, err := m.reloadIfChanged(ctx)
	if len(changed) == 0 || ctx.Err() != nil {
		return
	}
	r := Reloaded{Files: changed, Err: err}
	if err == nil {
		s := m.state.Load()
		r.Warnings, r.Pending = s.warnings, s.pendingNames()
	}
	tell(r)
}

// watchedFiles returns the files that the last attempt to load looked at.
func (m *Manager) watchedFiles() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen.paths()
}

// folderWatch watches the folders on the way to some files: editors and Kubernetes replace files and
// links, which a watch on the file itself would lose.
type folderWatch struct {
	fs      *fsnotify.Watcher
	names   map[string]bool // full names whose events matter
	folders map[string]error
}

func newFolderWatch() (*folderWatch, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	return &folderWatch{fs: fs, folders: map[string]error{}}, nil
}

func (w *folderWatch) close() { _ = w.fs.Close() }

// arm watches what leads to files, and nothing else. It reports whether a folder was added.
func (w *folderWatch) arm(files []string) bool {
	w.names = map[string]bool{}
	for _, f := range files {
		for _, step := range stepsTo(f) {
			w.names[step] = true
		}
	}
	wanted := map[string]bool{}
	for name := range w.names {
		wanted[filepath.Dir(name)] = true
	}
	active := map[string]bool{} // a folder that was deleted has dropped out of the watcher by itself
	for _, f := range w.fs.WatchList() {
		active[f] = true
	}
	for f := range w.folders {
		if !wanted[f] && active[f] {
			_ = w.fs.Remove(f)
		}
		if !wanted[f] || !active[f] {
			delete(w.folders, f)
		}
	}
	added := false
	for f := range wanted {
		if _, known := w.folders[f]; known {
			continue
		}
		err := w.fs.Add(f)
		if errors.Is(err, os.ErrNotExist) {
			continue // it went this moment; the event from above it brings us here again
		}
		w.folders[f] = err
		added = added || err == nil
	}
	return added
}

// trouble says which folders cannot be watched, "" if all are.
func (w *folderWatch) trouble() string {
	for f, err := range w.folders {
		if err != nil {
			return fmt.Sprintf("changes of files in %s will not be noticed: %v", f, err)
		}
	}
	return ""
}

// concerns reports whether an event on name may have changed one of the files: it is one of the names on
// the way, or a folder that holds one.
func (w *folderWatch) concerns(name string) bool {
	if w.names[name] {
		return true
	}
	_, folder := w.folders[name]
	return folder
}

// stepsTo returns every name whose replacement changes what path refers to: the file itself, each symbolic
// link on the way to it, and, if something on the way is missing, the first such name.
func stepsTo(path string) []string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil
	}
	var steps []string
	done, todo := "/", strings.Split(strings.TrimPrefix(abs, "/"), "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			done = filepath.Dir(done)
			continue
		}
		name := filepath.Join(done, part)
		st, err := os.Lstat(name)
		if err != nil {
			return append(steps, name)
		}
		if st.Mode()&os.ModeSymlink == 0 {
			done = name
			continue
		}
		steps = append(steps, name)
		target, err := os.Readlink(name)
		if links++; err != nil || links > 40 {
			return steps
		}
		if filepath.IsAbs(target) {
			done = "/"
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return append(steps, done)
}
