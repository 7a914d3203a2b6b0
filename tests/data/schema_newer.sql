-- What ZoneMinder 1.38 and 1.39 have beyond 1.36.33, as far as zmtwist sees any of it: applied to a database with 1.36's schema.

SET FOREIGN_KEY_CHECKS = 0;

ALTER TABLE Monitors
  MODIFY Path TEXT,
  ADD Deleted BOOLEAN NOT NULL DEFAULT FALSE,
  ADD Capturing ENUM('None','Ondemand','Always') NOT NULL DEFAULT 'Always',
  ADD Analysing ENUM('None','Always') NOT NULL DEFAULT 'Always',
  ADD Recording ENUM('None','OnMotion','Always') NOT NULL DEFAULT 'Always',
  ADD RecordingSource ENUM('Primary','Secondary','Both') NOT NULL DEFAULT 'Primary',
  ADD UseZmNext BOOLEAN NOT NULL DEFAULT FALSE;

ALTER TABLE Events
  MODIFY Cause TEXT,
  ADD MaxScoreFrameId INT UNSIGNED,
  ADD Latitude DECIMAL(10,8),
  ADD Longitude DECIMAL(11,8);

ALTER TABLE Frames DROP FOREIGN KEY Frames_ibfk_1;
ALTER TABLE Monitor_Status ADD UpdatedOn TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP;
ALTER TABLE Zones
  MODIFY MinAlarmPixels DECIMAL(10,2), MODIFY MaxAlarmPixels DECIMAL(10,2),
  MODIFY MinFilterPixels DECIMAL(10,2), MODIFY MaxFilterPixels DECIMAL(10,2),
  MODIFY MinBlobPixels DECIMAL(10,2), MODIFY MaxBlobPixels DECIMAL(10,2);

CREATE TABLE Tags (
  Id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  Name VARCHAR(64) CHARACTER SET latin1 COLLATE latin1_bin NOT NULL DEFAULT '',
  CreateDate TIMESTAMP NULL,
  CreatedBy INT UNSIGNED,
  LastAssignedDate DATETIME,
  PRIMARY KEY (Id),
  UNIQUE KEY (Name)
) ENGINE=InnoDB;

CREATE TABLE Events_Tags (
  TagId BIGINT UNSIGNED NOT NULL,
  EventId BIGINT UNSIGNED NOT NULL,
  AssignedDate TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  AssignedBy INT UNSIGNED,
  PRIMARY KEY (TagId, EventId),
  FOREIGN KEY (TagId) REFERENCES Tags (Id) ON DELETE CASCADE,
  FOREIGN KEY (EventId) REFERENCES Events (Id) ON DELETE CASCADE
) ENGINE=InnoDB;

CREATE TABLE Event_Data (
  Id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  EventId BIGINT UNSIGNED NOT NULL,
  MonitorId INT UNSIGNED NOT NULL,
  FrameId INT UNSIGNED,
  `Timestamp` TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  Data TEXT NOT NULL,
  PRIMARY KEY (Id),
  KEY (EventId)
) ENGINE=InnoDB;

CREATE TABLE monitor_pipeline (
  monitor_id INT UNSIGNED NOT NULL PRIMARY KEY,
  graph_json TEXT
) ENGINE=InnoDB;

UPDATE Config SET Value = '1.38.4' WHERE Name IN ('ZM_DYN_DB_VERSION', 'ZM_DYN_CURR_VERSION');

-- Events are counted by their writer now, buckets change with DiskSpace only, and Storage is nobody's trigger's.

DROP TRIGGER event_insert_trigger;
DROP TRIGGER event_update_trigger;
DROP TRIGGER event_delete_trigger;

DELIMITER //

CREATE TRIGGER event_update_trigger AFTER UPDATE ON Events FOR EACH ROW
BEGIN
  DECLARE diff BIGINT DEFAULT COALESCE(NEW.DiskSpace, 0) - COALESCE(OLD.DiskSpace, 0);
  IF diff THEN
    UPDATE Events_Hour SET DiskSpace = NEW.DiskSpace WHERE EventId = NEW.Id;
    UPDATE Events_Day SET DiskSpace = NEW.DiskSpace WHERE EventId = NEW.Id;
    UPDATE Events_Week SET DiskSpace = NEW.DiskSpace WHERE EventId = NEW.Id;
    UPDATE Events_Month SET DiskSpace = NEW.DiskSpace WHERE EventId = NEW.Id;
    UPDATE Event_Summaries SET TotalEventDiskSpace = GREATEST(COALESCE(TotalEventDiskSpace, 0) + diff, 0)
      WHERE MonitorId = NEW.MonitorId;
  END IF;
END//

CREATE TRIGGER event_delete_trigger BEFORE DELETE ON Events FOR EACH ROW
BEGIN
  DELETE FROM Events_Hour WHERE EventId = OLD.Id;
  DELETE FROM Events_Day WHERE EventId = OLD.Id;
  DELETE FROM Events_Week WHERE EventId = OLD.Id;
  DELETE FROM Events_Month WHERE EventId = OLD.Id;
  UPDATE Event_Summaries SET
    TotalEvents = GREATEST(COALESCE(TotalEvents, 1) - 1, 0),
    TotalEventDiskSpace = GREATEST(COALESCE(TotalEventDiskSpace, 0) - COALESCE(OLD.DiskSpace, 0), 0)
    WHERE MonitorId = OLD.MonitorId;
END//

DELIMITER ;

SET FOREIGN_KEY_CHECKS = 1;
