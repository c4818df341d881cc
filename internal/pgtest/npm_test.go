package pgtest

import (
	"archive/tar"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNewestVersion(t *testing.T) {
	t.Parallel()
	const answer = `["16.1.1", "17.2.0-beta.15", "17.10.0-beta.16", "17.10.0-beta.9", "17.9.0-beta.17", "18.0.0-beta.1", "18.0.0", "17.x"]`
	tests := []struct {
		major int
		want  string
	}{
		{16, "16.1.1"},
		{17, "17.10.0-beta.16"},
		{18, "18.0.0"},
		{15, ""},
	}
	for _, tt := range tests {
		got, err := newestVersion([]byte(answer), tt.major)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("version %d: got %q and %v, want %q", tt.major, got, err, tt.want)
		}
	}
	if _, err := newestVersion([]byte(`{"error": {}}`), 17); err == nil {
		t.Error("an answer that is no list: no error")
	}
}

// writeArchive makes a .tgz with the given members, as npm pack does.
func writeArchive(t *testing.T, members map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.tgz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	gz := gzip.NewWriter(f)
	w := tar.NewWriter(gz)
	for name, content := range members {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	for _, close := range []func() error{w.Close, gz.Close, f.Close} {
		if err := close(); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestUnpackPackage(t *testing.T) {
	t.Parallel()
	archive := writeArchive(t, map[string]string{
		"package/native/bin/postgres":     "#!/bin/sh\n",
		"package/native/lib/libpq.so.5.1": "library",
		"package/native/pg-symlinks.json": `[{"source": "native/lib/libpq.so.5.1", "target": "native/lib/libpq.so"}]`,
	})
	dir := filepath.Join(t.TempDir(), "tree")
	if err := untar(archive, dir); err != nil {
		t.Fatal(err)
	}
	if err := createSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "native/lib/libpq.so")); string(got) != "library" {
		t.Errorf("through the link: got %q and %v", got, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "native/bin/postgres")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("a program is not executable: %v, %v", info, err)
	}
}

func TestUnpackRefusesToLeaveItsFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tree")
	err := untar(writeArchive(t, map[string]string{"package/../../evil": "x"}), dir)
	if err == nil || !strings.Contains(err.Error(), "leaves the archive's folder") {
		t.Errorf("archive member: got %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "native"), 0o755); err != nil {
		t.Fatal(err)
	}
	list := `[{"source": "/etc/passwd", "target": "native/x"}]`
	if err := os.WriteFile(filepath.Join(dir, "native", "pg-symlinks.json"), []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := createSymlinks(dir); err == nil || !strings.Contains(err.Error(), "leaves the package") {
		t.Errorf("link: got %v", err)
	}
}
