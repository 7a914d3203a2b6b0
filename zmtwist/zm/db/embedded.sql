-- The embedded database: ZoneMinder's table and column names in SQLite, for the demo, for tests and for trying zmtwist out.
-- Every column has a default that makes sense, so that rows can be added by hand. Times are local text 'YYYY-MM-DD HH:MM:SS'.

CREATE TABLE Config (
  Id INTEGER NOT NULL DEFAULT 0,
  Name VARCHAR(32) NOT NULL PRIMARY KEY,
  Value TEXT NOT NULL DEFAULT '',
  Type TEXT NOT NULL DEFAULT 'string',
  DefaultValue TEXT,
  Category VARCHAR(32) NOT NULL DEFAULT ''
);

INSERT INTO Config (Id, Name, Value, Type, DefaultValue, Category) VALUES
  (1, 'ZM_DYN_DB_VERSION', '1.38.4', 'string', '1.38.4', 'dynamic'),
  (2, 'ZM_BULK_FRAME_INTERVAL', '100', 'integer', '100', 'config'),
  (3, 'ZM_EVENT_IMAGE_DIGITS', '5', 'integer', '5', 'config'),
  (4, 'ZM_TIMEZONE', '', 'string', '', 'system'),
  (5, 'ZM_RECORD_EVENT_STATS', '0', 'boolean', 'no', 'logging'),
  (6, 'ZM_OPT_FAST_DELETE', '0', 'boolean', 'no', 'system'),
  (7, 'ZM_STATS_UPDATE_INTERVAL', '60', 'integer', '60', 'system');

CREATE TABLE States (
  Id INTEGER PRIMARY KEY AUTOINCREMENT,
  Name VARCHAR(64) NOT NULL DEFAULT '' UNIQUE,
  Definition TEXT NOT NULL DEFAULT '',
  IsActive INTEGER NOT NULL DEFAULT 0
);

INSERT INTO States (Name, Definition, IsActive) VALUES ('default', '', 1);

CREATE TABLE Servers (
  Id INTEGER PRIMARY KEY AUTOINCREMENT,
  Protocol TEXT,
  Hostname TEXT,
  Port INTEGER,
  Name VARCHAR(64) NOT NULL DEFAULT '',
  Status TEXT NOT NULL DEFAULT 'Unknown'
);

CREATE TABLE Storage (
  Id INTEGER PRIMARY KEY AUTOINCREMENT,
  Path TEXT NOT NULL DEFAULT '',
  Name VARCHAR(64) NOT NULL DEFAULT '',
  Type TEXT NOT NULL DEFAULT 'local',
  Url VARCHAR(255),
  DiskSpace INTEGER,
  Scheme TEXT NOT NULL DEFAULT 'Medium',
  ServerId INTEGER,
  DoDelete INTEGER NOT NULL DEFAULT 1,
  Enabled INTEGER NOT NULL DEFAULT 1
);

CREATE TABLE Monitors (
  Id INTEGER PRIMARY KEY AUTOINCREMENT,
  Name VARCHAR(64) NOT NULL DEFAULT '',
  Notes TEXT,
  Deleted INTEGER NOT NULL DEFAULT 0,
  ServerId INTEGER,
  StorageId INTEGER DEFAULT 0,
  Type TEXT NOT NULL DEFAULT 'Ffmpeg',
  Function TEXT NOT NULL DEFAULT 'Monitor',
  Enabled INTEGER NOT NULL DEFAULT 1,
  Capturing TEXT,
  Analysing TEXT,
  Recording TEXT,
  UseZmNext INTEGER NOT NULL DEFAULT 0,
  Device TEXT NOT NULL DEFAULT '',
  Channel INTEGER NOT NULL DEFAULT 0,
  Protocol VARCHAR(16),
  Method VARCHAR(16) DEFAULT '',
  Host VARCHAR(64),
  Port VARCHAR(8) NOT NULL DEFAULT '',
  SubPath VARCHAR(64) NOT NULL DEFAULT '',
  Path TEXT,
  SecondPath TEXT,
  Options TEXT,
  User VARCHAR(64),
  Pass VARCHAR(64),
  Width INTEGER NOT NULL DEFAULT 0,
  Height INTEGER NOT NULL DEFAULT 0,
  Colours INTEGER NOT NULL DEFAULT 4,
  Orientation TEXT NOT NULL DEFAULT 'ROTATE_0',
  SaveJPEGs INTEGER NOT NULL DEFAULT 3,
  VideoWriter INTEGER NOT NULL DEFAULT 2,
  EventPrefix VARCHAR(32) NOT NULL DEFAULT 'Event-',
  PreEventCount INTEGER NOT NULL DEFAULT 5,
  PostEventCount INTEGER NOT NULL DEFAULT 5,
  SectionLength INTEGER NOT NULL DEFAULT 600,
  MinSectionLength INTEGER NOT NULL DEFAULT 10,
  MaxFPS REAL,
  AlarmMaxFPS REAL,
  Sequence INTEGER,
  ZoneCount INTEGER NOT NULL DEFAULT 0,
  Latitude REAL,
  Longitude REAL
);

CREATE TABLE Zones (
  Id INTEGER PRIMARY KEY AUTOINCREMENT,
  MonitorId INTEGER NOT NULL DEFAULT 0 REFERENCES Monitors (Id) ON DELETE CASCADE,
  Name VARCHAR(64) NOT NULL DEFAULT '',
  Type TEXT NOT NULL DEFAULT 'Active',
  Units TEXT NOT NULL DEFAULT 'Pixels',
  NumCoords INTEGER NOT NULL DEFAULT 0,
  Coords TEXT NOT NULL DEFAULT '',
  Area INTEGER NOT NULL DEFAULT 0,
  AlarmRGB INTEGER DEFAULT 0,
  CheckMethod TEXT NOT NULL DEFAULT 'Blobs',
  MinPixelThreshold INTEGER,
  MaxPixelThreshold INTEGER,
  MinAlarmPixels REAL,
  MaxAlarmPixels REAL,
  FilterX INTEGER,
  FilterY INTEGER,
  MinFilterPixels REAL,
  MaxFilterPixels REAL,
  MinBlobPixels REAL,
  MaxBlobPixels REAL,
  MinBlobs INTEGER,
  MaxBlobs INTEGER,
  OverloadFrames INTEGER NOT NULL DEFAULT 0,
  ExtendAlarmFrames INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX Zones_MonitorId_idx ON Zones (MonitorId);

CREATE TABLE Monitor_Status (
  MonitorId INTEGER NOT NULL PRIMARY KEY,
  Status TEXT NOT NULL DEFAULT 'Unknown',
  CaptureFPS REAL NOT NULL DEFAULT 0,
  AnalysisFPS REAL NOT NULL DEFAULT 0,
  CaptureBandwidth INTEGER NOT NULL DEFAULT 0,
  UpdatedOn TIMESTAMP NOT NULL DEFAULT (datetime('now', 'localtime'))
);

CREATE TABLE Events (
  Id INTEGER PRIMARY KEY AUTOINCREMENT,
  MonitorId INTEGER NOT NULL DEFAULT 0,
  StorageId INTEGER DEFAULT 0,
  SecondaryStorageId INTEGER DEFAULT 0,
  Name VARCHAR(64) NOT NULL DEFAULT '',
  Cause TEXT,
  StartDateTime DATETIME,
  EndDateTime DATETIME,
  Width INTEGER NOT NULL DEFAULT 0,
  Height INTEGER NOT NULL DEFAULT 0,
  Length REAL NOT NULL DEFAULT 0,
  Frames INTEGER,
  AlarmFrames INTEGER,
  DefaultVideo VARCHAR(64) NOT NULL DEFAULT '',
  SaveJPEGs INTEGER DEFAULT 0,
  TotScore INTEGER NOT NULL DEFAULT 0,
  AvgScore INTEGER DEFAULT 0,
  MaxScore INTEGER DEFAULT 0,
  MaxScoreFrameId INTEGER,
  Archived INTEGER NOT NULL DEFAULT 0,
  Videoed INTEGER NOT NULL DEFAULT 0,
  Uploaded INTEGER NOT NULL DEFAULT 0,
  Emailed INTEGER NOT NULL DEFAULT 0,
  Messaged INTEGER NOT NULL DEFAULT 0,
  Executed INTEGER NOT NULL DEFAULT 0,
  Notes TEXT,
  StateId INTEGER NOT NULL DEFAULT 0,
  Orientation TEXT NOT NULL DEFAULT 'ROTATE_0',
  DiskSpace INTEGER,
  Scheme TEXT NOT NULL DEFAULT 'Medium',
  Locked INTEGER NOT NULL DEFAULT 0,
  Latitude REAL,
  Longitude REAL
);
CREATE INDEX Events_MonitorId_StartDateTime_idx ON Events (MonitorId, StartDateTime);
CREATE INDEX Events_EndDateTime_idx ON Events (EndDateTime, MonitorId);

CREATE TABLE Frames (
  Id INTEGER PRIMARY KEY AUTOINCREMENT,
  EventId INTEGER NOT NULL DEFAULT 0,
  FrameId INTEGER NOT NULL DEFAULT 0,
  Type TEXT NOT NULL DEFAULT 'Normal',
  TimeStamp TIMESTAMP NOT NULL DEFAULT (datetime('now', 'localtime')),
  Delta REAL NOT NULL DEFAULT 0,
  Score INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX Frames_EventId_idx ON Frames (EventId);

CREATE TABLE Stats (
  Id INTEGER PRIMARY KEY AUTOINCREMENT,
  MonitorId INTEGER NOT NULL DEFAULT 0,
  ZoneId INTEGER NOT NULL DEFAULT 0,
  EventId INTEGER NOT NULL,
  FrameId INTEGER NOT NULL DEFAULT 0,
  PixelDiff INTEGER NOT NULL DEFAULT 0,
  AlarmPixels INTEGER NOT NULL DEFAULT 0,
  FilterPixels INTEGER NOT NULL DEFAULT 0,
  BlobPixels INTEGER NOT NULL DEFAULT 0,
  Blobs INTEGER NOT NULL DEFAULT 0,
  Score INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE Events_Hour (
  EventId INTEGER NOT NULL PRIMARY KEY, MonitorId INTEGER NOT NULL, StartDateTime DATETIME, DiskSpace INTEGER
);
CREATE TABLE Events_Day (
  EventId INTEGER NOT NULL PRIMARY KEY, MonitorId INTEGER NOT NULL, StartDateTime DATETIME, DiskSpace INTEGER
);
CREATE TABLE Events_Week (
  EventId INTEGER NOT NULL PRIMARY KEY, MonitorId INTEGER NOT NULL, StartDateTime DATETIME, DiskSpace INTEGER
);
CREATE TABLE Events_Month (
  EventId INTEGER NOT NULL PRIMARY KEY, MonitorId INTEGER NOT NULL, StartDateTime DATETIME, DiskSpace INTEGER
);

CREATE TABLE Event_Summaries (
  MonitorId INTEGER NOT NULL PRIMARY KEY,
  TotalEvents INTEGER,
  TotalEventDiskSpace INTEGER,
  HourEvents INTEGER,
  HourEventDiskSpace INTEGER,
  DayEvents INTEGER,
  DayEventDiskSpace INTEGER,
  WeekEvents INTEGER,
  WeekEventDiskSpace INTEGER,
  MonthEvents INTEGER,
  MonthEventDiskSpace INTEGER,
  ArchivedEvents INTEGER,
  ArchivedEventDiskSpace INTEGER
);

CREATE TABLE Tags (
  Id INTEGER PRIMARY KEY AUTOINCREMENT,
  Name VARCHAR(64) NOT NULL DEFAULT '' UNIQUE,
  CreateDate TIMESTAMP,
  CreatedBy INTEGER,
  LastAssignedDate DATETIME
);

CREATE TABLE Events_Tags (
  TagId INTEGER NOT NULL REFERENCES Tags (Id) ON DELETE CASCADE,
  EventId INTEGER NOT NULL REFERENCES Events (Id) ON DELETE CASCADE,
  AssignedDate TIMESTAMP NOT NULL DEFAULT (datetime('now', 'localtime')),
  AssignedBy INTEGER,
  PRIMARY KEY (TagId, EventId)
);

CREATE TABLE Event_Data (
  Id INTEGER PRIMARY KEY AUTOINCREMENT,
  EventId INTEGER,
  MonitorId INTEGER,
  FrameId INTEGER,
  Timestamp TIMESTAMP,
  Data TEXT
);

-- As ZoneMinder's own: an event's size and its removal are carried into the counts; its insertion is counted by its writer.

CREATE TRIGGER event_update_trigger AFTER UPDATE OF DiskSpace ON Events
WHEN COALESCE(NEW.DiskSpace, 0) <> COALESCE(OLD.DiskSpace, 0)
BEGIN
  UPDATE Events_Hour SET DiskSpace = NEW.DiskSpace WHERE EventId = NEW.Id;
  UPDATE Events_Day SET DiskSpace = NEW.DiskSpace WHERE EventId = NEW.Id;
  UPDATE Events_Week SET DiskSpace = NEW.DiskSpace WHERE EventId = NEW.Id;
  UPDATE Events_Month SET DiskSpace = NEW.DiskSpace WHERE EventId = NEW.Id;
  UPDATE Event_Summaries
    SET TotalEventDiskSpace = MAX(COALESCE(TotalEventDiskSpace, 0) - COALESCE(OLD.DiskSpace, 0) + COALESCE(NEW.DiskSpace, 0), 0)
    WHERE MonitorId = NEW.MonitorId;
END;

CREATE TRIGGER event_delete_trigger BEFORE DELETE ON Events
BEGIN
  DELETE FROM Events_Hour WHERE EventId = OLD.Id;
  DELETE FROM Events_Day WHERE EventId = OLD.Id;
  DELETE FROM Events_Week WHERE EventId = OLD.Id;
  DELETE FROM Events_Month WHERE EventId = OLD.Id;
  UPDATE Event_Summaries
    SET TotalEvents = MAX(COALESCE(TotalEvents, 1) - 1, 0),
        TotalEventDiskSpace = MAX(COALESCE(TotalEventDiskSpace, 0) - COALESCE(OLD.DiskSpace, 0), 0)
    WHERE MonitorId = OLD.MonitorId;
END;

CREATE TRIGGER Events_Hour_update_trigger AFTER UPDATE ON Events_Hour
BEGIN
  UPDATE Event_Summaries
    SET HourEventDiskSpace = MAX(COALESCE(HourEventDiskSpace, 0) + COALESCE(NEW.DiskSpace, 0) - COALESCE(OLD.DiskSpace, 0), 0)
    WHERE MonitorId = NEW.MonitorId;
END;

CREATE TRIGGER Events_Hour_delete_trigger BEFORE DELETE ON Events_Hour
BEGIN
  UPDATE Event_Summaries
    SET HourEvents = MAX(COALESCE(HourEvents, 1) - 1, 0),
        HourEventDiskSpace = MAX(COALESCE(HourEventDiskSpace, 0) - COALESCE(OLD.DiskSpace, 0), 0)
    WHERE MonitorId = OLD.MonitorId;
END;

CREATE TRIGGER Events_Day_update_trigger AFTER UPDATE ON Events_Day
BEGIN
  UPDATE Event_Summaries
    SET DayEventDiskSpace = MAX(COALESCE(DayEventDiskSpace, 0) + COALESCE(NEW.DiskSpace, 0) - COALESCE(OLD.DiskSpace, 0), 0)
    WHERE MonitorId = NEW.MonitorId;
END;

CREATE TRIGGER Events_Day_delete_trigger BEFORE DELETE ON Events_Day
BEGIN
  UPDATE Event_Summaries
    SET DayEvents = MAX(COALESCE(DayEvents, 1) - 1, 0),
        DayEventDiskSpace = MAX(COALESCE(DayEventDiskSpace, 0) - COALESCE(OLD.DiskSpace, 0), 0)
    WHERE MonitorId = OLD.MonitorId;
END;

CREATE TRIGGER Events_Week_update_trigger AFTER UPDATE ON Events_Week
BEGIN
  UPDATE Event_Summaries
    SET WeekEventDiskSpace = MAX(COALESCE(WeekEventDiskSpace, 0) + COALESCE(NEW.DiskSpace, 0) - COALESCE(OLD.DiskSpace, 0), 0)
    WHERE MonitorId = NEW.MonitorId;
END;

CREATE TRIGGER Events_Week_delete_trigger BEFORE DELETE ON Events_Week
BEGIN
  UPDATE Event_Summaries
    SET WeekEvents = MAX(COALESCE(WeekEvents, 1) - 1, 0),
        WeekEventDiskSpace = MAX(COALESCE(WeekEventDiskSpace, 0) - COALESCE(OLD.DiskSpace, 0), 0)
    WHERE MonitorId = OLD.MonitorId;
END;

CREATE TRIGGER Events_Month_update_trigger AFTER UPDATE ON Events_Month
BEGIN
  UPDATE Event_Summaries
    SET MonthEventDiskSpace = MAX(COALESCE(MonthEventDiskSpace, 0) + COALESCE(NEW.DiskSpace, 0) - COALESCE(OLD.DiskSpace, 0), 0)
    WHERE MonitorId = NEW.MonitorId;
END;

CREATE TRIGGER Events_Month_delete_trigger BEFORE DELETE ON Events_Month
BEGIN
  UPDATE Event_Summaries
    SET MonthEvents = MAX(COALESCE(MonthEvents, 1) - 1, 0),
        MonthEventDiskSpace = MAX(COALESCE(MonthEventDiskSpace, 0) - COALESCE(OLD.DiskSpace, 0), 0)
    WHERE MonitorId = OLD.MonitorId;
END;
